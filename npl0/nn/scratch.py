"""Memory that is used again at every step."""

import math

import numpy as np

from npl0.nn.layers import Shape


class Scratch:
    """An allocator that hands out the same memory again for the same name: page faults cost as much as arithmetic."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def __call__(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape)
        array = self._arrays.get((name, dtype))
        if array is None or array.size < size:
            array = self._arrays[name, dtype] = np.empty(size, dtype)
        return array[:size].reshape(shape)
