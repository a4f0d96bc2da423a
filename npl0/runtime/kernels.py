"""The compiler settings that every kernel shares."""

import numba

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
