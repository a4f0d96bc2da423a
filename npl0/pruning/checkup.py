"""Warnings about a pruning that failed without an error: a layer that died, or one that was hardly pruned."""

import warnings

import numpy as np

# Which weights are kept: bool arrays of the weights' shapes, by parameter name.
Masks = dict[str, np.ndarray]

# What to do, by method: for a dead layer, and for one that was hardly pruned.
_REMEDIES = {
    "l0": ("lower l0_lambda, or this layer's with layer_lambda", "raise l0_lambda or train longer"),
    "magnitude": ("lower the compression, or try the other criterion", "raise the compression or the quality"),
}
HARDLY = 0.99
# A small layer (a first convolution) may well need all its weights.
SMALL_LAYER = 1000


class PruningWarning(UserWarning):
    """The pruning went wrong without failing: a layer died, or was hardly pruned."""


class Checkup:
    """Looks at the masks of one run and warns of every layer at most once for each of the two troubles.

    Parameters
    ----------
    method : the method's name, for the remedy; methods that do not prune are never warned about.
    """

    def __init__(self, method: str) -> None:
        self._remedies = _REMEDIES.get(method)
        self._said: set[str] = set()

    def dead_layers(self, masks: Masks) -> None:
        """Warn of layers without any weight."""
        for name, mask in masks.items():
            if not mask.any():
                self._say(name, f"died: none of its {mask.size:,} weights is left", 0)

    def unpruned_layers(self, masks: Masks) -> None:
        """Warn of layers that kept more than 99 % of their weights."""
        for name, mask in masks.items():
            kept = int(mask.sum())
            if kept > HARDLY * mask.size and mask.size > SMALL_LAYER:
                self._say(name, f"was hardly pruned: {kept:,} of {mask.size:,} weights are left", 1)

    def _say(self, name: str, what: str, trouble: int) -> None:
        if self._remedies is not None and name not in self._said:
            self._said.add(name)
            layer = name.partition(".")[0]
            warnings.warn(f"layer {layer} {what}; {self._remedies[trouble]}", PruningWarning, stacklevel=3)
