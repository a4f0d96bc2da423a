"""The pruner: who writes the weights before a step and who reads the gradients after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import Parameter
from npl0.pruning.checkup import Checkup, Masks
from npl0.runtime.threads import Workers
from npl0.training.optimizers import ParameterGroup


class Pruner:
    """The protocol of all methods, and by its defaults the `dense` one: train every weight, prune nothing.

    A pruner is a node upstream of the layers; layers know nothing of it. One training step is

        pruner.write_weights(step)                  # free parameters -> weight.value
        network.loss_and_gradients(...)             # weight.value -> weight.grad
        penalty = pruner.read_gradients()           # weight.grad -> gradients of the free parameters
        optimizer.step(...)
        pruner.after_step()
    """

    name = "dense"

    def __init__(self, network: Network) -> None:
        self.network = network
        self.workers: Workers | None = None
        self.checkup = Checkup(self.name, network)

    @contextmanager
    def sharing(self, workers: Workers) -> Iterator[None]:
        """Let the pruner use these threads for the length of the block; outside it computes in the caller's."""
        self.workers = workers
        try:
            yield
        finally:
            self.workers = None

    def _map(self, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return [function(item) for item in items] if self.workers is None else self.workers.map(function, items)

    def groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        """Return what the optimiser moves; only weights decay."""
        rest = [parameter for parameter in self.network.parameters if parameter.kind != "weight"]
        return [
            ParameterGroup(self.free_weights(), learning_rate, weight_decay),
            ParameterGroup(rest, learning_rate),
        ]

    def free_weights(self) -> list[Parameter]:
        """Return the parameters that the optimiser moves in place of the network's weights."""
        return self.network.weights

    def write_weights(self, step: int) -> None:
        """Put into the network the weights of training step `step`."""

    def write_test_weights(self) -> None:
        """Put into the network the weights that it is tested with."""

    def read_gradients(self) -> float:
        """Turn weight gradients into those of the free parameters; return the penalty added to the loss."""
        return 0.0

    def after_step(self) -> None:
        """Restore what the optimiser may have broken, such as the zeros of a mask."""

    def masks(self) -> Masks:
        """Return which weights are kept, bool, by parameter name."""
        return {weight.name: np.ones(weight.value.shape, bool) for weight in self.network.weights}

    def expected_l0(self) -> float | None:
        """Return the expected number of non-zero weights, for pruners that have one."""
        return None

    def finalise(self) -> Masks:
        """Prune: leave in the network its pruned weights, and return which are kept.

        Warns
        -----
        PruningWarning
            If a layer lost all its weights or so many that little comes through, or hardly any.
        """
        self.write_test_weights()
        masks = self.masks()
        apply_masks(self.network, masks)
        self.checkup.dead_layers(masks)
        self.checkup.bottlenecks(masks)
        self.checkup.unpruned_layers(masks)
        return masks

    def state(self) -> dict[str, Any]:
        """Return the arrays of a checkpoint that are not the network's or the optimiser's (not copies)."""
        return {}

    def load_state(self, arrays: dict[str, Any]) -> None:
        """Take over what `state` returned."""


def apply_masks(network: Network, masks: Masks) -> None:
    """Set to zero every weight that is not kept; ValueError if names or shapes do not fit."""
    weights = {weight.name: weight for weight in network.weights}
    if weights.keys() != masks.keys():
        raise ValueError(f"masks are needed for {', '.join(weights)}, but were given for {', '.join(masks)}")
    for name, mask in masks.items():
        if mask.shape != weights[name].value.shape or mask.dtype != bool:
            raise ValueError(
                f"the mask of {name} must be bool of shape {weights[name].value.shape}, not {mask.dtype} {mask.shape}"
            )
        weights[name].value[~mask] = 0


def density(masks: Masks) -> float:
    """Return kept / all."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.size for mask in masks.values())
