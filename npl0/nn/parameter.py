"""Trainable arrays, and groups of them that share their settings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["weight", "bias", "scale", "shift", "gate"]


class Parameter:
    """A trainable array and its gradient.

    Attributes
    ----------
    value, grad : arrays of the same shape and dtype. `grad` holds the result of the last backward pass; assigning to
        `value` makes a new one, of zeros.
    kind : `weight` (pruned), `bias`, `scale` and `shift` (of a batch norm), or `gate` (log_alpha).
    name : layer and attribute, such as `conv1.weight`.

    Raises
    ------
    ValueError
        If a value is not a C-contiguous array of float32 or float64: optimisers and kernels update flat views of it.
    """

    __slots__ = ("_value", "grad", "kind", "name")

    def __init__(self, value: np.ndarray, kind: Kind, name: str = "") -> None:
        self.value = value
        self.kind = kind
        self.name = name

    @property
    def value(self) -> np.ndarray:
        """The array."""
        return self._value

    @value.setter
    def value(self, value: np.ndarray) -> None:
        sound = isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64) and value.flags.c_contiguous
        if not sound:
            found = f"{value.dtype} {value.strides}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ValueError(f"a parameter must be a C-contiguous float32 or float64 array, not {found}")
        self._value = value
        self.grad = np.zeros_like(value)

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
