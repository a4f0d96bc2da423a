"""The compiler settings of all kernels.

After a change here, delete Numba's cache (__pycache__): it notices only changes in the file of the kernel itself.
"""

import warnings

import numba

# NaN and infinity keep their meaning, so that a diverging run is seen to diverge. Sums may be reordered; LLVM does so
# in the same way on every call, so results are repeatable on one machine.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
# nogil instead of parallel: threads work on different shards, and two thread pools on the same cores compete.
_SETTINGS = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}


def kernel(function):
    """Compile a function as a kernel, and cache it on disk if there is a folder to write to."""
    try:
        return numba.njit(cache=True, **_SETTINGS)(function)
    except RuntimeError:
        warnings.warn("every start compiles the kernels: set NUMBA_CACHE_DIR to a writable folder", stacklevel=1)
        return numba.njit(**_SETTINGS)(function)


# For functions that kernels call. If they were not inlined, there would be two compiled versions, which may differ in
# the last bit, and which one runs would depend on whether the kernel was compiled or loaded from the cache.
inlined = numba.njit(forceinline=True, **_SETTINGS)
