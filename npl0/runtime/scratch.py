"""Memory for the arrays of a training step, reused at every step: page faults cost as much as arithmetic.

An operation asks its allocator for each array by how long the content must last. `fresh`, the default of every
operation, makes new arrays; a network gives each layer of each shard a `Scratch`, which reuses its memory.
"""

import contextlib
import math
import mmap

import numpy as np

Shape = tuple[int, ...]


class Allocator:
    """Hands out uninitialised arrays; this one makes a new array at every call.

    `name` tells apart the arrays that one operation holds at the same time.
    """

    def kept(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return an array that the backward pass will read; it lasts until the next step."""
        return np.empty(shape, dtype)

    def temporary(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return an array that is free again when the operation returns."""
        return self.kept(name, shape, dtype)

    def output(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array of y; it lasts as long as the next layer, or any backward pass, needs it."""
        return self.kept("y", shape, dtype)

    def grad_input(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array of grad_x, which lasts until the layer before has read it.

        Call it at most once in a backward pass: a second array could be the memory of grad_y.
        """
        return self.kept("grad_x", shape, dtype)

    def grad_weight(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array of grad_w, which lasts until the gradients of all shards are summed."""
        return self.kept("grad_w", shape, dtype)


fresh = Allocator()


# Keep the mapping private to this process where the system offers it.
_MAPPING = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


def _map_array(size: int, dtype: np.dtype) -> np.ndarray:
    memory = mmap.mmap(-1, max(1, size * dtype.itemsize), **_MAPPING)
    # Huge pages mean fewer page faults; NumPy asks for them too, and a kernel without them is no error.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype, size)


class _Memory:
    """Arrays by name, each as large as the largest request so far."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def get(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape)
        array = self._arrays.get((name, dtype))
        if array is None or array.size < size:
            # Free the old array first: mapped memory returns to the system and leaves no hole in a heap.
            del array
            self._arrays.pop((name, dtype), None)
            array = self._arrays[name, dtype] = _map_array(size, dtype)
        return array[:size].reshape(shape)


class ShardMemory(_Memory):
    """What the layers of one shard share: temporaries, and two arrays that alternate.

    The backward pass of a layer reads grad_y while it writes grad_x, and no other gradient is alive, so two arrays are
    enough for all of them. They also serve an output that no backward pass reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def alternate(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return whichever of the two arrays was not returned last."""
        self._turn = 1 - self._turn
        return self.get(f"alternate {self._turn}", shape, dtype)


class Scratch(Allocator):
    """The allocator of one layer for one shard.

    Parameters
    ----------
    shard : the memory that the layers of the shard share.
    grad_weight : an array to use for grad_w, such as `parameter.grad`; None: memory of its own.
    output_is_temporary : whether no backward pass reads the layer's y, so that the next layer may take its memory.
    """

    def __init__(
        self, shard: ShardMemory, grad_weight: np.ndarray | None = None, output_is_temporary: bool = False
    ) -> None:
        self._own, self._shard = _Memory(), shard
        self._grad_weight, self._output_is_temporary = grad_weight, output_is_temporary

    def kept(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._own.get(name, shape, dtype)

    def temporary(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shard.get(name, shape, dtype)

    def output(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shard.alternate(shape, dtype) if self._output_is_temporary else super().output(shape, dtype)

    def grad_input(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._shard.alternate(shape, dtype)

    def grad_weight(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        if self._grad_weight is None:
            return super().grad_weight(shape, dtype)
        return self._grad_weight.reshape(shape)
