"""Retraining: the survivors learn on, the pruned weights stay exactly zero."""

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Masks, Pruner, apply_masks


class FixedMask(Pruner):
    """Train the weights of a mask and hold all others at zero.

    The mask is applied to the gradient, so that no optimiser slot collects anything for a pruned weight, and to the
    weight after the step, so that no optimiser can revive one by momentum or decay.
    """

    name = "fixed mask"

    def __init__(self, network: Network, masks: Masks) -> None:
        super().__init__(network)
        apply_masks(network, masks)
        self._masks = masks

    def read_gradients(self) -> float:
        self._map(lambda weight: self._mask(weight.name, weight.grad), self.network.weights)
        return 0.0

    def after_step(self) -> None:
        self._map(lambda weight: self._mask(weight.name, weight.value), self.network.weights)

    def _mask(self, name: str, array: np.ndarray) -> None:
        array *= self._masks[name]

    def masks(self) -> Masks:
        return self._masks
