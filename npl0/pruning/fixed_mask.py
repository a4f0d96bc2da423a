"""Retraining: the kept weights learn on, and the pruned ones stay exactly zero."""

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Pruner, Step
from npl0.pruning.masks import Masks, apply_masks, masks_of


class FixedMask(Pruner):
    """Train the weights of a mask and hold all others at zero.

    The mask is applied to the gradient, so that no optimiser state builds up for a pruned weight, and to the weight
    after the step, so that neither momentum nor weight decay can revive one.

    Parameters
    ----------
    network : its weights outside the mask are set to zero at once.
    masks : bool arrays of the shapes of the weights (else ValueError), by parameter name, as `finalise` returns them;
        they are copied. None: `masks_of(network)`, which keeps what a pruned network still has.
    """

    name = "fixed mask"
    stage = "retrain"
    remedies = dict.fromkeys(("died", "is collapsing"), "prune less, in this layer first")
    remedies["was hardly pruned"] = "prune more"

    def __init__(self, network: Network, masks: Masks | None = None) -> None:
        super().__init__(network)
        masks = masks_of(network) if masks is None else masks
        apply_masks(network, masks)
        self._masks = {name: mask.copy() for name, mask in masks.items()}

    def read_gradients(self, step: Step) -> float:
        self.map(lambda w: np.multiply(w.grad, self._masks[w.name], out=w.grad), self.network.weights)
        return 0.0

    def after_step(self, step: Step) -> None:
        self.map(lambda w: np.multiply(w.value, self._masks[w.name], out=w.value), self.network.weights)

    def masks(self) -> Masks:
        return self._masks

    state = masks

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        super().load_state(arrays)
        apply_masks(self.network, self._masks)
