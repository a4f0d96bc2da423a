"""Retraining: the kept weights learn on, and the pruned ones stay exactly zero."""

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import Parameter, check_arrays
from npl0.pruning.base import Plan, Pruner, Step
from npl0.pruning.masks import Masks, apply_masks, masks_of


class FixedMask(Pruner):
    """Train the weights of a mask and hold all others at zero.

    The free parameters are the kept weights, so no optimiser state builds up for a pruned one, and neither momentum nor
    weight decay can revive it.

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
        # Each weight of the network with the flat places of those that are kept, and their values.
        self._parts: list[tuple[Parameter, np.ndarray, Parameter]] = []

    def begin(self, plan: Plan) -> None:
        weights = self.network.weights
        places = [np.flatnonzero(self._masks[weight.name]) for weight in weights]
        kept = [Parameter(w.value.take(at), "weight", w.name) for w, at in zip(weights, places, strict=True)]
        self._parts = list(zip(weights, places, kept, strict=True))
        apply_masks(self.network, self._masks)

    def free_weights(self) -> list[Parameter]:
        return [free for _, _, free in self._parts]

    def read_gradients(self, step: Step) -> float:
        def read(part: tuple[Parameter, np.ndarray, Parameter]) -> None:
            weight, places, free = part
            # A layer that computes with its kept weights alone has the gradients of these alone.
            free.grad[...] = weight.grad if weight.grad.shape == free.grad.shape else weight.grad.take(places)

        self.map(read, self._parts)
        return 0.0

    def after_step(self, step: Step) -> None:
        self.map(lambda part: part[0].value.put(part[1], part[2].value), self._parts)

    def masks(self) -> Masks:
        return self._masks

    state = masks

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Load masks, and take the kept weights from the network; ValueError if training began with other masks."""
        check_arrays(self.name, self._masks, arrays)
        if self._parts and any((mask != arrays[name]).any() for name, mask in self._masks.items()):
            raise ValueError("training began with other masks than the stored ones; give FixedMask the stored ones")
        super().load_state(arrays)
        apply_masks(self.network, self._masks)
        for weight, places, free in self._parts:
            free.value = weight.value.take(places)
