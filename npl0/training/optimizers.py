"""Optimisers over groups of parameters, and learning-rate schedules."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from npl0.nn.parameter import Parameter
from npl0.ops.update import adam_kernel, sgd_kernel
from npl0.runtime.threads import BLOCK, Workers
from npl0.settings.sections import suggest


@dataclass
class ParameterGroup:
    """Parameters that share their settings.

    Attributes
    ----------
    parameters : the arrays.
    learning_rate : before the schedule's factor.
    schedule : the group's own course of the learning rate, a name of `SCHEDULES`; "" for that of all others.
    weight_decay : L2 strength, added to the gradient as `weight_decay * value`.
    always_adam : whether Adam moves them whatever optimiser is asked for, as gates need it: by plain gradients they
        would take millions of steps to close.
    """

    parameters: list[Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    always_adam: bool = False
    schedule: str = ""

    def rate(self, factor: float, progress: float) -> float:
        """Return the learning rate of a step, given what `Optimizer.step` was given."""
        return self.learning_rate * (SCHEDULES[self.schedule](progress) if self.schedule else factor)


@dataclass
class Optimizer:
    """The base class: it walks over groups, parameters and blocks; `update` does one block."""

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

    def update(self, group: ParameterGroup, rate: float, value: np.ndarray, grad: np.ndarray, *slots) -> None:
        """Update one flat block in place."""
        raise NotImplementedError

    def step(self, workers: Workers, factor: float = 1.0, progress: float = 0.0) -> None:
        """Move every parameter by its `grad`.

        Parameters
        ----------
        workers : the threads.
        factor : multiplies the learning rate of every group without a schedule of its own.
        progress : the share of the stage that is done, in [0, 1); tells the groups with one their factor.
        """
        self.steps += 1
        tasks = []
        for group in self.groups:
            rate = group.rate(factor, progress)
            for parameter in group.parameters:
                arrays = (parameter.value, parameter.grad, *self.slots[parameter.name])
                flat = [array.reshape(-1) for array in arrays]
                for start in range(0, parameter.size, BLOCK):
                    tasks.append((group, rate, [array[start : start + BLOCK] for array in flat]))

        def run(task: tuple[ParameterGroup, float, list[np.ndarray]]) -> None:
            group, rate, arrays = task
            self.update(group, rate, *arrays)

        workers.map(run, tasks)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that a resumed run needs, by name (not copies)."""
        arrays = {"steps": np.array(self.steps)}
        for name, slots in self.slots.items():
            arrays.update({f"{name}.{slot}": array for slot, array in zip(self.slot_names, slots, strict=True)})
        return arrays

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `state` returned; KeyError or ValueError if it is another optimiser's."""
        self.steps = int(arrays["steps"])
        for name, slots in self.slots.items():
            for slot, array in zip(self.slot_names, slots, strict=True):
                stored = arrays[f"{name}.{slot}"]
                if stored.shape != array.shape:
                    raise ValueError(f"{name}.{slot} has shape {array.shape}, the stored one {stored.shape}")
                array[...] = stored


@dataclass
class SGD(Optimizer):
    """SGD with momentum (`npl0.ops.update.sgd_reference`)."""

    slot_names = ("velocity",)
    momentum: float = 0.9
    nesterov: bool = True

    def update(self, group: ParameterGroup, rate: float, value: np.ndarray, grad: np.ndarray, *slots) -> None:
        number = value.dtype.type
        sgd_kernel(value, grad, *slots, number(rate), number(self.momentum), number(group.weight_decay), self.nesterov)


@dataclass
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


class Together:
    """Several optimisers over different groups, as one.

    Parameters
    ----------
    parts : optimisers; no parameter stands in two of them.
    """

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts

    @property
    def groups(self) -> list[ParameterGroup]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.groups]

    def step(self, workers: Workers, factor: float = 1.0, progress: float = 0.0) -> None:
        """Step every part."""
        for part in self.parts:
            part.step(workers, factor, progress)

    def state(self) -> dict[str, np.ndarray]:
        """Return the states of the parts, by number."""
        return {f"{i}.{name}": array for i, part in enumerate(self.parts) for name, array in part.state().items()}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `state` returned."""
        for i, part in enumerate(self.parts):
            prefix = f"{i}."
            mine = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            part.load_state(mine)


OPTIMIZERS = ("adam", "sgd")


def build_optimizer(name: str, groups: list[ParameterGroup], momentum: float = 0.9) -> Optimizer | Together:
    """Build an optimiser by name; momentum is SGD's (Nesterov) or Adam's beta1, but not that of what is always Adam's.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is unknown: {suggest(name, OPTIMIZERS)}")
    others = [group for group in groups if not group.always_adam]
    chosen = Adam(others, beta1=momentum) if name == "adam" else SGD(others, momentum=momentum)
    # An Adam of their own, so that what is chosen for the weights does not change how fast gates move.
    always = [group for group in groups if group.always_adam]
    return Together([chosen, Adam(always)]) if always else chosen


# A schedule maps the progress of a stage, in [0, 1), to a factor of the learning rate.


def constant(progress: float) -> float:
    """Stay at 1."""
    return 1.0


def step_decay(progress: float, at: float = 0.7) -> float:
    """Divide by 10 after the fraction `at` of the stage."""
    return 1.0 if progress < at else 0.1


def cosine(progress: float) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear_decay(progress: float) -> float:
    """Fall from 1 to 0 in a straight line."""
    return 1 - progress


def one_cycle(progress: float, peak: float = 0.3) -> float:
    """Rise from 1/25 to 1 until the fraction `peak`, then fall to 0, both along half a cosine (Smith & Topin 2018)."""
    if progress < peak:
        return 1 / 25 + (1 - 1 / 25) * (1 - cosine(progress / peak))
    return cosine((progress - peak) / (1 - peak))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "step": step_decay,
    "linear": linear_decay,
    "cosine": cosine,
    "one-cycle": one_cycle,
}
