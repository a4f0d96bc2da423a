"""Retraining: the survivors learn on, the pruned weights stay exactly zero."""

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
        for weight in self.network.weights:
            weight.grad *= self._masks[weight.name]
        return 0.0

    def after_step(self) -> None:
        for weight in self.network.weights:
            weight.value *= self._masks[weight.name]

    def masks(self) -> Masks:
        return self._masks
