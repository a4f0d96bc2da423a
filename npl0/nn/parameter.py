"""Trainable arrays, groups of them that share their settings, and the copying of stored arrays into live ones."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["weight", "bias", "scale", "shift", "gate"]


class Parameter:
    """A trainable array and its gradient.

    Attributes
    ----------
    value, grad : C-contiguous float32 or float64 arrays of one shape (else ValueError); in sparse retraining, `grad` is
        that of the kept weights. Assigning to `value` copies into the array, because optimisers, pruners and scratch
        memory hold views of it.
    kind : `weight` (pruned), `bias`, `scale` and `shift` (of a batch norm), or `gate` (log_alpha).
    name : layer and attribute, such as `conv1.weight`.
    """

    __slots__ = ("_value", "grad", "kind", "name")
    __copy__ = deepcopy

    def __init__(self, value: np.ndarray, kind: Kind, name: str = "") -> None:
        found = f"{value.dtype} {value.strides}" if isinstance(value, np.ndarray) else type(value).__name__
        if not (isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64) and value.flags.c_contiguous):
            raise ValueError(f"a parameter must be a C-contiguous float32 or float64 array, not {found}")
        self._value, self.grad = value, np.zeros(value.shape, value.dtype)
        self.kind, self.name = kind, name

    @property
    def value(self) -> np.ndarray:
        """The array; ValueError if one of another shape or dtype is assigned."""
        return self._value

    @value.setter
    def value(self, value: np.ndarray) -> None:
        found = np.asarray(value)
        if found.shape != self._value.shape or found.dtype != self._value.dtype:
            raise ValueError(f"{self!r} cannot take a value of shape {found.shape}, {found.dtype}")
        self._value[...] = found

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._value.size

    @property
    def layer(self) -> str:
        """The name of the layer that holds it."""
        return self.name.partition(".")[0]

    def __repr__(self) -> str:
        return f"Parameter({self.name or self.kind}, shape {self._value.shape}, {self._value.dtype})"


@dataclass
class ParameterGroup:
    """Parameters that share their settings.

    Attributes
    ----------
    parameters : the arrays to train.
    learning_rate : the rate at the start of the stage; the schedule multiplies it.
    weight_decay : L2 strength; `weight_decay * value` is added to the gradient.
    always_adam : whether Adam updates them even if another optimiser is chosen. Gates need it: plain gradient descent
        would take millions of steps to close them.
    schedule : the group's own learning-rate schedule, by name; "" for the schedule of the stage.
    """

    parameters: list[Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    always_adam: bool = False
    schedule: str = ""


def check_arrays(owner: str, targets: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError, naming the owner, unless the arrays have the names, shapes and dtypes of the targets."""
    if different := sorted(targets.keys() ^ arrays.keys()):
        names = ", ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
        raise ValueError(f"these arrays do not belong to {owner}: {names} do not match")
    for name, target in targets.items():
        shape, dtype = arrays[name].shape, arrays[name].dtype
        if (target.shape, target.dtype) != (shape, dtype):
            raise ValueError(f"{target.dtype} {name} has shape {target.shape}, the stored one {shape} of {dtype}")


def copy_arrays(owner: str, targets: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into those of the same names; if `check_arrays` raises ValueError, none is changed."""
    check_arrays(owner, targets, arrays)
    for name, target in targets.items():
        target[...] = arrays[name]
