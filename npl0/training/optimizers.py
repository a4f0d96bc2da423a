"""Optimisers over groups of parameters. The arithmetic of an update is in `npl0.ops.update`."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from npl0.nn.parameter import ParameterGroup
from npl0.ops.schedules import SCHEDULES
from npl0.ops.update import adam_kernel, sgd_kernel
from npl0.pruning.base import Step, load_arrays_into
from npl0.runtime.threads import BLOCK, Workers
from npl0.training.recipe import Recipe


@dataclass
class Optimizer:
    """The base class: it walks over groups, parameters and blocks; `update` moves one block."""

    groups: list[ParameterGroup]
    steps: int = field(default=0, init=False)
    slot_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        names = [parameter.name for group in self.groups for parameter in group.parameters]
        if len(set(names)) != len(names):
            raise ValueError("every parameter must have a name of its own and stand in one group only")
        self.slots = {
            parameter.name: tuple(np.zeros_like(parameter.value) for _ in self.slot_names)
            for group in self.groups
            for parameter in group.parameters
        }

    def __repr__(self) -> str:
        count = sum(parameter.size for group in self.groups for parameter in group.parameters)
        return f"{type(self).__name__}({count:,} values in {len(self.groups)} groups, after {self.steps:,} steps)"

    def update(self, group: ParameterGroup, rate: float, value: np.ndarray, grad: np.ndarray, *slots) -> None:
        """Update one flat block in place."""
        raise NotImplementedError

    def step(self, workers: Workers, step: Step) -> None:
        """Move every parameter by its gradient, at the learning rates of this training step."""
        self.steps += 1
        tasks = []
        for group in self.groups:
            factor = SCHEDULES[group.schedule](step.fraction) if group.schedule else step.rate_factor
            rate = group.learning_rate * factor
            for parameter in group.parameters:
                arrays = (parameter.value, parameter.grad, *self.slots[parameter.name])
                flat = [array.reshape(-1) for array in arrays]
                for start in range(0, parameter.size, BLOCK):
                    tasks.append((group, rate, *(array[start : start + BLOCK] for array in flat)))
        workers.map(lambda task: self.update(*task), tasks)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that a resumed stage needs, by name (not copies)."""
        return {"steps": np.array(self.steps), **self._slot_arrays()}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Load what `state` returned; KeyError or ValueError if it belongs to another optimiser."""
        self.steps = int(arrays["steps"])
        load_arrays_into(self._slot_arrays(), arrays)

    def _slot_arrays(self) -> dict[str, np.ndarray]:
        return {
            f"{name}.{slot}": array
            for name, slots in self.slots.items()
            for slot, array in zip(self.slot_names, slots, strict=True)
        }


@dataclass(repr=False)
class SGD(Optimizer):
    """SGD with momentum (`npl0.ops.update.sgd_reference`)."""

    slot_names = ("velocity",)
    momentum: float = 0.9
    nesterov: bool = True

    def update(self, group: ParameterGroup, rate: float, value: np.ndarray, grad: np.ndarray, *slots) -> None:
        number = value.dtype.type
        sgd_kernel(value, grad, *slots, number(rate), number(self.momentum), number(group.weight_decay), self.nesterov)


@dataclass(repr=False)
class Adam(Optimizer):
    """Adam (`npl0.ops.update.adam_reference`)."""

    slot_names = ("m", "v")
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def update(self, group: ParameterGroup, rate: float, value: np.ndarray, grad: np.ndarray, *slots) -> None:
        number = value.dtype.type
        adam_kernel(
            value,
            grad,
            *slots,
            number(rate / (1 - self.beta1**self.steps)),
            number(self.beta1),
            number(self.beta2),
            number(self.epsilon),
            number(1 / (1 - self.beta2**self.steps)),
            number(group.weight_decay),
        )


class CombinedOptimizer:
    """Several optimisers over different groups, used as one.

    Parameters
    ----------
    parts : the optimisers; no parameter may be in two of them.
    """

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return f"CombinedOptimizer({self.parts!r})"

    @property
    def groups(self) -> list[ParameterGroup]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.groups]

    def step(self, workers: Workers, step: Step) -> None:
        """Take one step with each part."""
        for part in self.parts:
            part.step(workers, step)

    def state(self) -> dict[str, np.ndarray]:
        """Return the states of the parts, each name with the number of its part."""
        return {f"{i}.{name}": array for i, part in enumerate(self.parts) for name, array in part.state().items()}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Load what `state` returned."""
        for i, part in enumerate(self.parts):
            prefix = f"{i}."
            part.load_state({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)})


def build_optimizer(recipe: Recipe, groups: list[ParameterGroup]) -> Optimizer | CombinedOptimizer:
    """Build the optimiser of a recipe for the groups that a pruner gives."""
    chosen = [group for group in groups if not group.always_adam]
    always_adam = [group for group in groups if group.always_adam]
    if recipe.optimizer == "adam":
        optimizer = Adam(chosen, beta1=recipe.momentum)
    else:
        optimizer = SGD(chosen, momentum=recipe.momentum)
    # The gates have an Adam of their own: by plain gradients they would need millions of steps to close.
    return CombinedOptimizer([optimizer, Adam(always_adam)]) if always_adam else optimizer
