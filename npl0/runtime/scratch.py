"""Memory for the arrays of a training step, reused at every step, because page faults cost as much as the arithmetic.

An operation requests each array with the method of its allocator that says how long the content must last. The default,
`fresh`, returns new arrays; a network gives each layer of each shard a `Scratch`, which reuses its memory.
"""

import contextlib
import math
import mmap

import numpy as np

Shape = tuple[int, ...]


class Allocator:
    """Returns uninitialised arrays, here a new one at every call; `name` distinguishes those of one operation."""

    def kept(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return an array that the backward pass reads; it lasts until the next step."""
        return np.empty(shape, dtype)

    def temporary(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return an array that lasts until the operation returns."""
        return self.kept(name, shape, dtype)

    def output(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array for y, which lasts as long as the next layer or a backward pass needs it."""
        return self.kept("y", shape, dtype)

    def grad_input(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array for grad_x, which lasts until the preceding layer has read it.

        Call this at most once in a backward pass: a second array could share its memory with grad_y.
        """
        return self.kept("grad_x", shape, dtype)

    def grad_weight(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array for grad_w, which lasts until the gradients of all shards are summed."""
        return self.kept("grad_w", shape, dtype)


fresh = Allocator()

# Keep the mapping private to this process, where the system supports it.
_MAPPING = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


class Memory:
    """Arrays by name and dtype, each as large as the largest request so far.

    The layers of a shard share one for their temporaries and for two arrays used alternately: a backward pass reads
    grad_y and writes grad_x, and no other such gradient is needed at that time. The two also hold the outputs that no
    backward pass reads.
    """

    _turn = 0

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def get(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        key, size = (name, dtype), math.prod(shape)
        if key not in self._arrays or self._arrays[key].size < size:
            # Unmap the old array before mapping the new one, so that both are never in memory at once.
            self._arrays.pop(key, None)
            memory = mmap.mmap(-1, max(1, size * dtype.itemsize), **_MAPPING)
            # Huge pages mean fewer page faults; NumPy requests them too, and some Linux kernels lack them.
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):
                    memory.madvise(mmap.MADV_HUGEPAGE)
            self._arrays[key] = np.frombuffer(memory, dtype, size)
        return self._arrays[key][:size].reshape(shape)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def alternate(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the one of the two arrays that was not returned last."""
        self._turn = 1 - self._turn
        return self.get(f"alternate {self._turn}", shape, dtype)


class Scratch(Allocator):
    """The allocator of one layer for one shard.

    Parameters
    ----------
    shard : the memory shared by the layers of the shard.
    grad_weight : the array to use for grad_w, such as `parameter.grad`; None: memory of this layer.
    output_is_temporary : whether no backward pass reads y, so that its memory can be reused after the next layer.
    own : the memory of this layer; None: a new one. Without a backward pass, that of the shard serves all layers.
    """

    def __init__(self, shard: Memory, grad_weight=None, output_is_temporary=False, own: Memory | None = None) -> None:
        self._own, self.shard = own or Memory(), shard
        self._grad_weight, self._output_is_temporary = grad_weight, output_is_temporary

    def kept(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self._own.get(name, shape, dtype)

    def temporary(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self.shard.get(name, shape, dtype)

    def output(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self.shard.alternate(shape, dtype) if self._output_is_temporary else super().output(shape, dtype)

    def grad_input(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self.shard.alternate(shape, dtype)

    def grad_weight(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return super().grad_weight(shape, dtype) if self._grad_weight is None else self._grad_weight.reshape(shape)
