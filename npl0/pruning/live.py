"""Live weights: those on a path of kept weights from an input to an output; all others have no effect on the answer."""

import numpy as np

from npl0.pruning.masks import Masks


def live_masks(masks: Masks) -> Masks | None:
    """Return which weights are kept and lie on a path of kept weights from an input to an output.

    A path leads through units: outputs of a linear layer, or filters of a convolution with all their positions.

    Parameters
    ----------
    masks : of the layers of a chain, first to last, each (out, in, ...), else ValueError; behind a flattening, a linear
        layer has several inputs for each unit before it.

    Returns
    -------
    live : masks of the same shapes; None if the layers are no chain, because some number of inputs is not a multiple of
        the units before.
    """
    if not isinstance(masks, dict) or any(getattr(m, "dtype", "") != "bool" or m.ndim < 2 for m in masks.values()):
        raise ValueError("live_masks takes bool arrays (out, in, ...) by name, as masks_of(network) returns them")
    if not masks:
        return {}
    by_units, units = [], next(iter(masks.values())).shape[1]
    for mask in masks.values():
        if mask.shape[1] % units:
            return None
        by_units.append(mask.reshape(len(mask), units, -1))
        units = len(mask)
    links = [mask.any(axis=2) for mask in by_units]
    reached, used = [np.ones(links[0].shape[1], bool)], [np.ones(units, bool)]
    for link in links[:-1]:
        reached.append(link[:, reached[-1]].any(axis=1))
    for link in links[:0:-1]:
        used.append(link[used[-1]].any(axis=0))
    parts = zip(masks.items(), by_units, reached, reversed(used), strict=True)
    return {
        name: (by_unit & outputs[:, None, None] & inputs[:, None]).reshape(mask.shape)
        for (name, mask), by_unit, inputs, outputs in parts
    }
