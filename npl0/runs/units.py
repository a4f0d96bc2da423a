"""Units (outputs of a linear layer, filters of a convolution) and the paths of kept weights through them."""

from itertools import pairwise

import numpy as np

from npl0.pruning.masks import Masks


def is_chain(masks: Masks) -> bool:
    """Return whether each layer can stand directly on the one before: its inputs are a multiple of those outputs."""
    return all(mask.shape[1] % len(before) == 0 for before, mask in pairwise(masks.values()))


def unit_links(masks: Masks) -> dict[str, np.ndarray]:
    """Return, for each layer of a chain, which units have a kept weight from which units before: bool (out, in)."""
    links: dict[str, np.ndarray] = {}
    inputs = 0
    for name, mask in masks.items():
        # A linear layer behind a flattening has several inputs for each unit of the layer before.
        links[name] = mask.reshape(len(mask), inputs or mask.shape[1], -1).any(axis=2)
        inputs = len(mask)
    return links


def live_units(links: dict[str, np.ndarray]) -> dict[str, int]:
    """Count, for each layer, the output units that lie on a path of links from the input to the output."""
    layers = list(links.values())
    reached, units = [], np.ones(layers[0].shape[1], bool)
    for link in layers:
        units = link[:, units].any(axis=1)
        reached.append(units)
    used, units = [], np.ones(len(layers[-1]), bool)
    for link in reversed(layers):
        used.append(units)
        units = link[units].any(axis=0)
    return {name: int((one & other).sum()) for name, one, other in zip(links, reached, reversed(used), strict=True)}
