"""Warnings about a pruning that fails without an error: a layer that collapses, died, or was hardly pruned."""

import warnings
from itertools import pairwise

import numpy as np

# Which weights are kept: bool arrays of the weights' shapes, by parameter name.
Masks = dict[str, np.ndarray]

# What to do, by trouble and method; where nothing stands, the method is not warned of the trouble.
_REMEDIES = {
    "died": {
        "l0": "lower l0_lambda, or this layer's with layer_lambda",
        "magnitude": "lower the compression, or try the other criterion",
    },
    "was hardly pruned": {
        "l0": "raise l0_lambda or train longer",
        "magnitude": "raise the compression or the quality",
    },
    "is collapsing": {
        "l0": "lower its lambda (--layer-lambda {layer}=0.5), make the ramp longer (--ramp-epochs), or start from a "
        "dense network (--init-from)"
    },
}
HARDLY = 0.99
# A small layer (a first convolution) may well need all its weights.
SMALL_LAYER = 1000
# A layer with fewer live units than this share of all, or than there are classes, is a bottleneck.
NARROW = 0.02


class PruningWarning(UserWarning):
    """The pruning goes wrong without failing: a layer collapses or died, or was hardly pruned."""


class Checkup:
    """Looks at the masks of one run and warns of every layer at most once for each trouble.

    Parameters
    ----------
    method : the method's name, for the remedy; methods that do not prune are never warned about.
    classes : the number of the network's outputs.
    """

    def __init__(self, method: str, classes: int) -> None:
        self.method, self.classes = method, classes
        self._said: set[tuple[str, str]] = set()

    def dead_layers(self, masks: Masks) -> None:
        """Warn of layers without any weight."""
        for name, mask in masks.items():
            if not mask.any():
                self._say(name, "died", f"none of its {mask.size:,} weights is left")

    def bottlenecks(self, masks: Masks) -> None:
        """Warn of layers that are about to die, while there is time to stop.

        What comes through fewer live units than there are classes hardly tells the classes apart; so little holds the
        gates open on either side, and more of them close. A layer that is narrower than that by design may lose half
        of its units.
        """
        # A dead layer was warned of already, and cuts off all others; units can be followed through a plain stack only.
        if not all(mask.any() for mask in masks.values()) or not _is_stack(masks):
            return
        needed = {
            name: max(self.classes if len(mask) >= self.classes else len(mask) / 2, NARROW * len(mask))
            for name, mask in masks.items()
        }
        alive = live_units(masks)
        lacking = [name for name in masks if alive[name] < needed[name]]
        # Neighbours of a bottleneck lack live units too. It is one itself if its own weights lead to so few, or else it
        # is where the fewest weights are left.
        narrow = [name for name in lacking if _rows(masks[name]) < needed[name]]
        for name in narrow or sorted(lacking, key=lambda name: masks[name].sum())[:1]:
            mask = masks[name]
            self._say(
                name,
                "is collapsing",
                f"{alive[name]} of its {len(mask):,} output units still lead from the input to the classes, with "
                f"{int(mask.sum()):,} of {mask.size:,} weights",
            )

    def unpruned_layers(self, masks: Masks) -> None:
        """Warn of layers that kept more than 99 % of their weights."""
        for name, mask in masks.items():
            kept = int(mask.sum())
            if kept > HARDLY * mask.size and mask.size > SMALL_LAYER:
                self._say(name, "was hardly pruned", f"{kept:,} of {mask.size:,} weights are left")

    def _say(self, name: str, trouble: str, details: str) -> None:
        remedy = _REMEDIES[trouble].get(self.method)
        if remedy is not None and (name, trouble) not in self._said:
            self._said.add((name, trouble))
            layer = name.partition(".")[0]
            warnings.warn(
                f"layer {layer} {trouble}: {details}; {remedy.format(layer=layer)}", PruningWarning, stacklevel=3
            )


def live_units(masks: Masks) -> dict[str, int]:
    """Count the output units of every layer to which kept weights lead from the input, and from which to the output.

    Parameters
    ----------
    masks : of layers that stand in this order, each on the units of the one before.
    """
    links: list[np.ndarray] = []
    for mask in masks.values():
        # A linear layer after a flattening has several inputs for each unit of the layer before.
        inputs = len(links[-1]) if links else mask.shape[1]
        links.append(mask.reshape(len(mask), inputs, -1).any(axis=2))
    reached, units = [], np.ones(links[0].shape[1], bool)
    for link in links:
        units = link[:, units].any(axis=1)
        reached.append(units)
    useful, units = [], np.ones(len(links[-1]), bool)
    for link in reversed(links):
        useful.append(units)
        units = link[units].any(axis=0)
    return {name: int((one & other).sum()) for name, one, other in zip(masks, reached, reversed(useful), strict=True)}


def _is_stack(masks: Masks) -> bool:
    return all(mask.shape[1] % len(before) == 0 for before, mask in pairwise(masks.values()))


def _rows(mask: np.ndarray) -> int:
    """Return how many output units have a weight."""
    return int(mask.reshape(len(mask), -1).any(axis=1).sum())
