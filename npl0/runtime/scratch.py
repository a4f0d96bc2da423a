"""Memory that is used again at every step."""

import contextlib
import math
import mmap
from collections.abc import Sequence

import numpy as np

from npl0.nn.layers import Layer, Shape
from npl0.runtime.kernels import Allocator
from npl0.nn.parameter import Parameter


class _Memory:
    """Arrays by name, each as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def get(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape)
        array = self._arrays.get((name, dtype))
        if array is None or array.size < size:
            del array
            # The old one is given up first, and mapped memory goes back to the system, not to a heap full of holes.
            self._arrays.pop((name, dtype), None)
            array = self._arrays[name, dtype] = _mapped(size, dtype)
        return array[:size].reshape(shape)


# Of this process alone, where a system can tell.
_MAPPING = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


def _mapped(size: int, dtype: np.dtype) -> np.ndarray:
    memory = mmap.mmap(-1, max(1, size * dtype.itemsize), **_MAPPING)
    # Fewer and larger pages, as NumPy asks for in its own large arrays.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Some kernels have none, which is no reason to stop.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype, size)


class ShardMemory(_Memory):
    """What the layers of one shard share: arrays of passing use, and two for what only the next layer reads.

    That is the gradient of a layer's input, which is written while that of its output, by the layer after it, is read;
    and the output of a layer, on the way there, if nothing in the backward needs it. So two are enough, in turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def in_turn(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the one of the two that was not handed out last."""
        self._turn = 1 - self._turn
        return self.get(f"in turn {self._turn}", shape, dtype)


class Scratch(Allocator):
    """The allocator of one layer and shard: page faults cost as much as arithmetic.

    Parameters
    ----------
    shared : the memory of the shard.
    weight : the parameter whose `grad` serves for `grad_w`; None: `grad_w` has memory of its own.
    y_passes : whether the layer's y is not needed any more when the next layer has read it.
    """

    def __init__(self, shared: ShardMemory, weight: Parameter | None = None, y_passes: bool = False) -> None:
        self._own, self._shared, self._weight, self._y_passes = _Memory(), shared, weight, y_passes

    def __call__(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        if name == "grad_w" and self._weight is not None:
            return self._weight.grad.reshape(shape)
        if name == "y" and self._y_passes:
            return self._shared.in_turn(shape, dtype)
        return self._own.get(name, shape, dtype)

    def passing(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shared.get(name, shape, dtype)

    def gradient(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shared.in_turn(shape, dtype)


def new_scratch(layers: Sequence[Layer], first: bool) -> list[Scratch]:
    """Return the allocators of the layers of one shard; the first writes weight gradients where their sum is to be."""
    memory = ShardMemory()
    weights = [next((p for p in layer.parameters if p.kind == "weight"), None) if first else None for layer in layers]
    y_passes = [*(layer.is_done_with_x for layer in layers[1:]), False]
    return [Scratch(memory, *settings) for settings in zip(weights, y_passes, strict=True)]
