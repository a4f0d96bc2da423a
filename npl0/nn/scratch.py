"""Memory that is used again at every step."""

import math

import numpy as np

from npl0.nn.layers import Shape
from npl0.ops.kernel import Allocator


class _Memory:
    """Arrays by name, each as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def get(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape)
        array = self._arrays.get((name, dtype))
        if array is None or array.size < size:
            array = self._arrays[name, dtype] = np.empty(size, dtype)
        return array[:size].reshape(shape)


class ShardMemory(_Memory):
    """What the layers of one shard share: arrays of passing use, and two for the gradients that wander through them.

    The gradient of a layer's input is written while that of its output, which the layer after it wrote, is read. So two
    arrays are enough, handed out in turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def gradient(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the one of the two that was not handed out last."""
        self._turn = 1 - self._turn
        return self.get(f"gradient {self._turn}", shape, dtype)


class Scratch(Allocator):
    """The allocator of one layer and shard: page faults cost as much as arithmetic.

    Parameters
    ----------
    shared : the memory of the shard.
    """

    def __init__(self, shared: ShardMemory) -> None:
        self._own, self._shared = _Memory(), shared

    def __call__(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._own.get(name, shape, dtype)

    def passing(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shared.get(name, shape, dtype)

    def gradient(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shared.gradient(shape, dtype)


def new_scratch(layers: int) -> list[Scratch]:
    """Return the allocators of the layers of one shard."""
    memory = ShardMemory()
    return [Scratch(memory) for _ in range(layers)]
