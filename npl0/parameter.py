"""A trainable array and its gradient."""

from typing import Literal

import numpy as np

Kind = Literal["weight", "bias", "scale", "shift", "gate"]


class Parameter:
    """An array that an optimiser moves.

    Attributes
    ----------
    name : dotted, for instance `conv1.weight`.
    value, grad : arrays of one shape and dtype; grad holds what the last backward left there.
    kind : `weight` (what pruning acts on), `bias`, `scale` and `shift` (batch norm), or `gate` (log_alpha).
    """

    __slots__ = ("grad", "kind", "name", "value")

    def __init__(self, value: np.ndarray, kind: Kind, name: str = "") -> None:
        self.value = value
        self.grad = np.zeros_like(value)
        self.kind = kind
        self.name = name

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.value.size

    def __repr__(self) -> str:
        return f"Parameter({self.name or self.kind}, shape {self.value.shape}, {self.value.dtype})"
