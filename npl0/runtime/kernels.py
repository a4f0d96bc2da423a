"""What every kernel and every operation shares: the compiler settings and the source of scratch arrays."""

import numba
import numpy as np

# After a change here, delete Numba's cache (__pycache__): it notices changes in the file of a kernel only.
# NaN and infinity keep their meaning (a diverging run must be seen to diverge); sums may be reordered, which LLVM
# does in the same way on every call, so results stay repeatable on one machine.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

# nogil, not parallel: threads work on different shards, and two pools on the same cores starve each other.
_SETTINGS = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}
kernel = numba.njit(cache=True, **_SETTINGS)

# For what kernels call. Left to be called, it has two bodies, one compiled for itself and one with the kernel; which of
# them runs depends on whether the kernel was compiled or loaded from the cache, and they may differ in the last bit.
inlined = numba.njit(forceinline=True, **_SETTINGS)


class Allocator:
    """Hands out uninitialised arrays, by how long their content is needed; this one always makes new arrays.

    The name tells the arrays of one operation apart, so that an allocator may hand out the same memory again.
    """

    def __call__(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array that lasts until the same operation asks for the name again, at the next step.

        The output, `y`, may be overwritten earlier, as soon as the next layer has read it, if no backward needs it.
        """
        return np.empty(shape, dtype)

    def passing(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array that is not needed any more when the operation returns."""
        return self(name, shape, dtype)

    def gradient(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array for the gradient of the input, needed until the operation before has read it.

        At most once in a backward: a second one may be the memory of grad_y.
        """
        return self("grad_x", shape, dtype)


# For those who do not care about page faults.
fresh = Allocator()
