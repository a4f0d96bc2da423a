"""What every kernel and every operation shares: the compiler settings and the source of scratch arrays."""

from collections.abc import Callable

import numba
import numpy as np

# An allocator hands out an uninitialised array: `new(name, shape, dtype)`. The name tells the arrays of one
# operation apart, so that an allocator may hand out the same memory again at the next step.
Allocator = Callable[[str, tuple[int, ...], np.dtype], np.ndarray]

# After a change here, delete Numba's cache (__pycache__): it notices changes in the file of a kernel only.
# NaN and infinity keep their meaning (a diverging run must be seen to diverge); sums may be reordered, which LLVM
# does in the same way on every call, so results stay repeatable on one machine.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

# nogil, not parallel: threads work on different shards, and two pools on the same cores starve each other.
kernel = numba.njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy")


def fresh(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return a new uninitialised array; the allocator for those who do not care about page faults."""
    return np.empty(shape, dtype)
