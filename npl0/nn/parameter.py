"""A trainable array and its gradient."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["weight", "bias", "scale", "shift", "gate"]


class Parameter:
    """An array that an optimiser moves.

    Attributes
    ----------
    name : dotted, for instance `conv1.weight`.
    value, grad : arrays of one shape and dtype; grad holds what the last backward left there. Setting the value makes a
        new grad.
    kind : `weight` (what pruning acts on), `bias`, `scale` and `shift` (batch norm), or `gate` (log_alpha).

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
        """The name of the layer it belongs to."""
        return self.name.partition(".")[0]

    def __repr__(self) -> str:
        return f"Parameter({self.name or self.kind}, shape {self._value.shape}, {self._value.dtype})"


@dataclass
class ParameterGroup:
    """Parameters that an optimiser moves with the same settings.

    Attributes
    ----------
    parameters : the parameters.
    learning_rate : before the factor of the schedule.
    weight_decay : L2 strength; `weight_decay * value` is added to the gradient.
    always_adam : whether Adam moves them whatever optimiser the recipe names.
    schedule : the name of a schedule of their own; the empty string for the recipe's.
    """

    parameters: list[Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    always_adam: bool = False
    schedule: str = ""
