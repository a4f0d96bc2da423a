"""The compiler settings of all kernels, and the cache of compiled ones on the disk.

After a change here, delete Numba's cache (__pycache__): it notices only changes in the file of the kernel itself.
"""

import hashlib
import pickle
import warnings
from contextlib import suppress

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

# NaN and infinity keep their meaning, so that a diverging run is seen to diverge. Sums may be reordered; LLVM does so
# in the same way on every call, so results are repeatable on one machine.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
# nogil instead of parallel: threads work on different shards, and two thread pools on the same cores compete.
_SETTINGS = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}


class _Sealed(CompileResultCacheImpl):
    """Stores machine code with its SHA-256: Numba would run code of which a bit has changed."""

    def reduce(self, cres):
        code = dumps(super().reduce(cres))
        return code, hashlib.sha256(code).digest()

    def rebuild(self, target_context, payload):
        code, seal = payload
        if hashlib.sha256(code).digest() != seal:
            raise ValueError("the cache is damaged")
        return super().rebuild(target_context, pickle.loads(code))


class _Cache(FunctionCache):
    """Numba's cache, but damage in it, or a full disk, only means that the kernel is compiled anew."""

    _impl_class = _Sealed

    def load_overload(self, sig, target_context):
        with suppress(Exception):
            return super().load_overload(sig, target_context)
        with suppress(OSError):
            self.flush()

    def save_overload(self, sig, data):
        with suppress(Exception):
            super().save_overload(sig, data)


def kernel(function):
    """Compile a function as a kernel, and cache it on disk if there is a folder to write to."""
    compiled = numba.njit(**_SETTINGS)(function)
    try:
        compiled._cache = _Cache(function)
    except RuntimeError:
        warnings.warn("every start compiles the kernels: set NUMBA_CACHE_DIR to a writable folder", stacklevel=1)
    return compiled


# For functions that kernels call. If they were not inlined, there would be two compiled versions, which may differ in
# the last bit, and which one runs would depend on whether the kernel was compiled or loaded from the cache.
inlined = numba.njit(forceinline=True, **_SETTINGS)
