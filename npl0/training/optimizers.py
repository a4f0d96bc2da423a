"""Optimisers over groups of parameters. The arithmetic of an update is in `npl0.ops.update`."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from npl0.nn.parameter import ParameterGroup, copy_arrays
from npl0.ops.schedules import SCHEDULES
from npl0.ops.update import adam_kernel, sgd_kernel
from npl0.pruning.base import Step
from npl0.runtime.threads import Workers, blocks
from npl0.training.recipe import Recipe


class Rule:
    """How an array moves by its gradient. `slots` names the arrays of its shape that the rule remembers."""

    slots: ClassVar[tuple[str, ...]] = ()

    def update(self, value: np.ndarray, grad: np.ndarray, *slots_and_numbers) -> None:
        """Update a flat array in place; the arguments end in the slots, learning rate, weight decay and step t >= 1."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Rule):
    """SGD with momentum (`npl0.ops.update.sgd_reference`)."""

    slots = ("velocity",)
    momentum: float = 0.9
    nesterov: bool = True

    def update(self, value: np.ndarray, grad: np.ndarray, velocity: np.ndarray, rate, weight_decay, t: int) -> None:
        sgd_kernel(value, grad, velocity, *map(value.dtype.type, (rate, self.momentum, weight_decay)), self.nesterov)


@dataclass(frozen=True)
class Adam(Rule):
    """Adam (`npl0.ops.update.adam_reference`)."""

    slots = ("m", "v")
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def update(self, value: np.ndarray, grad: np.ndarray, m: np.ndarray, v: np.ndarray, rate, weight_decay, t) -> None:
        step_size, correction = rate / (1 - self.beta1**t), 1 / (1 - self.beta2**t)
        numbers = (step_size, 1 - self.beta1, 1 - self.beta2, self.epsilon, correction, weight_decay)
        adam_kernel(value, grad, m, v, *map(value.dtype.type, numbers))


class Optimizer:
    """Moves groups of parameters by their gradients.

    Parameters
    ----------
    groups : the groups; every parameter is in one of them only.
    rule : how parameters move; groups that are `always_adam` move by an Adam with the usual constants instead.
    """

    def __init__(self, groups: list[ParameterGroup], rule: Rule) -> None:
        self.groups, self.rule, self.steps = groups, rule, 0
        names = [parameter.name for group in groups for parameter in group.parameters]
        if len(set(names)) != len(names):
            raise ValueError("every parameter must have a name of its own and be in one group only")
        self._slots = {
            parameter.name: {slot: np.zeros_like(parameter.value) for slot in self.rule_of(group).slots}
            for group in groups
            for parameter in group.parameters
        }

    def __repr__(self) -> str:
        size = sum(parameter.size for group in self.groups for parameter in group.parameters)
        return f"Optimizer({self.rule}, {size:,} values in {len(self.groups)} groups, after {self.steps:,} steps)"

    def rule_of(self, group: ParameterGroup) -> Rule:
        """Return the rule by which a group moves."""
        return Adam() if group.always_adam else self.rule

    def step(self, workers: Workers, step: Step) -> None:
        """Move every parameter by its gradient, at the learning rates of this training step."""
        self.steps += 1
        tasks = []
        for group in self.groups:
            factor = SCHEDULES[group.schedule](step.fraction) if group.schedule else step.rate_factor
            numbers = (group.learning_rate * factor, group.weight_decay, self.steps)
            for parameter in group.parameters:
                for block in blocks(parameter.value, parameter.grad, *self._slots[parameter.name].values()):
                    tasks.append(partial(self.rule_of(group).update, *block, *numbers))
        workers.map(lambda task: task(), tasks)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that a resumed stage needs, by name (not copies)."""
        slots = {f"{name}.{slot}": array for name, held in self._slots.items() for slot, array in held.items()}
        return {"steps": np.array(self.steps), **slots}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Load what `state` returned; ValueError if it belongs to another optimiser."""
        copy_arrays("this optimiser", self.state(), arrays)
        self.steps = int(arrays["steps"])


def build_optimizer(recipe: Recipe, groups: list[ParameterGroup]) -> Optimizer:
    """Build the optimiser of a recipe for the groups that a pruner gives."""
    return Optimizer(groups, SGD(recipe.momentum) if recipe.optimizer == "sgd" else Adam(recipe.momentum))
