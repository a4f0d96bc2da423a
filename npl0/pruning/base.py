"""The pruner protocol: what writes the weights before a training step, and what reads their gradients after it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import Parameter, ParameterGroup, copy_arrays
from npl0.pruning.masks import Masks, apply_masks
from npl0.runtime.threads import Workers


@dataclass(frozen=True)
class Plan:
    """What is known of a stage before its first step: the seed of its draws, its training examples and its length."""

    seed: int
    n_train: int
    epochs: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Step:
    """One training step, as optimisers and pruners see it.

    Attributes
    ----------
    number : counted from 0 over the whole stage.
    fraction : the fraction of the stage that is done when the step begins, in [0, 1).
    rate_factor : the factor of the learning rate that schedule and warm-up give.
    learning_rate : the weights' learning rate at this step, the factor included.
    """

    number: int
    fraction: float = 0.0
    rate_factor: float = 1.0
    learning_rate: float = 0.0


class Pruner:
    """The protocol of all methods. Its defaults are dense training: every weight learns, none is pruned.

    A pruner stands upstream of the layers, which know nothing of it. It holds the *free* parameters, those that the
    optimiser moves, and computes the network's weights from them. After `begin`, each training step is

        pruner.write_weights(step)               # free parameters -> weight.value
        network.loss_and_gradients(...)          # weight.value    -> weight.grad
        penalty = pruner.read_gradients(step)    # weight.grad     -> gradients of the free parameters
        optimizer.step(workers, step)            # gradients       -> free parameters
        pruner.after_step(step)                  # proximal steps, masks

    A method overrides the hooks in which it differs, and declares its arguments in `npl0.pruning.methods`.
    """

    name = "dense"
    # The stage of a run that this pruner serves; it keys the random draws.
    stage = "train"
    # What to do about a layer that died, is collapsing or was hardly pruned; settings stand in the text as {name}.
    remedies: Mapping[str, str] = {}

    def __init__(self, network: Network) -> None:
        self.network = network
        self.workers: Workers | None = None

    def __repr__(self) -> str:
        settings = asdict(self.settings) if hasattr(self, "settings") else {}
        words = [repr(self.network), *(f"{name}={value!r}" for name, value in settings.items())]
        return f"{type(self).__name__}({', '.join(words)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` copy: everything, with the network, but the threads."""
        return {**vars(self), "workers": None}

    __copy__ = deepcopy

    @contextmanager
    def using(self, workers: Workers) -> Iterator[None]:
        """Compute on these threads inside the block; outside it the pruner computes in the caller's thread."""
        self.workers = workers
        try:
            yield
        finally:
            self.workers = None

    def map(self, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        """Apply a function to every item, on the threads of `using` if there are any."""
        return [function(item) for item in items] if self.workers is None else self.workers.map(function, items)

    def begin(self, plan: Plan) -> None:
        """Prepare for a stage; called once before its first step, and before `groups`."""

    def free_weights(self) -> list[Parameter]:
        """Return the parameters that the optimiser moves in place of the network's weights."""
        return self.network.weights

    def groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        """Return the groups of parameters for the optimiser; weight decay acts on weights only."""
        rest = [parameter for parameter in self.network.parameters if parameter.kind != "weight"]
        return [ParameterGroup(self.free_weights(), learning_rate, weight_decay), ParameterGroup(rest, learning_rate)]

    def write_weights(self, step: Step) -> None:
        """Write the weights of a training step into the network."""

    def read_gradients(self, step: Step) -> float:
        """Turn the gradients of the weights into those of the free parameters; return the penalty on the loss."""
        return 0.0

    def after_step(self, step: Step) -> None:
        """Correct the parameters after the optimiser has moved them, for instance by a proximal step."""

    def write_test_weights(self) -> None:
        """Write into the network the weights that it is tested with."""

    def masks(self) -> Masks:
        """Return which weights are kept."""
        return {weight.name: np.ones(weight.value.shape, bool) for weight in self.network.weights}

    def expected_l0(self) -> float | None:
        """Return the expected number of non-zero weights; None for a method without random gates."""
        return None

    def finalise(self) -> Masks:
        """Prune: leave the pruned weights in the network, and return which are kept."""
        self.write_test_weights()
        masks = self.masks()
        apply_masks(self.network, masks)
        return masks

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that a resumed stage needs besides those of the network and the optimiser (not copies)."""
        return {}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Load what `state` returned; ValueError if it belongs to something else."""
        copy_arrays(self.name, self.state(), arrays)
