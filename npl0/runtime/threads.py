"""Threads that work on shards, with BLAS limited to one thread.

Threads of BLAS would compete with these for the same cores, and BLAS splits a product by the number of cores, so
results would depend on the machine. Here the configuration alone determines how work is divided.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from threadpoolctl import OpenBLASController, ThreadpoolController

# Array elements per task: enough to hide the cost of a call, few enough to balance the threads.
BLOCK = 65536


def blocks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield flat views of arrays of one size, `BLOCK` elements of each at a time."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, BLOCK):
        yield [array[start : start + BLOCK] for array in flat]


def available_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Finding the loaded libraries takes longer than predicting one image; only an import, a new argument, may load another.
_blas_controller = lru_cache(1)(lambda modules: ThreadpoolController())
_blas_lock, _blas_limiters = threading.Lock(), []
# A fork waits until no other thread holds these (Numba's while it loads a kernel): a child would wait for ever.
for lock in (_blas_lock, global_compiler_lock) if hasattr(os, "register_at_fork") else ():
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _limit_blas(limit: bool) -> None:
    """Limit BLAS to one thread, or end a limit; the last of several `Workers` in the process restores its threads."""
    with _blas_lock:
        # threadpoolctl lets one thread at a time control OpenBLAS, but the limit is that of the whole process.
        getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)(force=True)
        if limit:
            _blas_limiters.append(_blas_controller(len(sys.modules)).limit(limits=1, user_api="blas"))
        else:
            # Only the first one has seen the original number of threads, so it is the last to be restored.
            _blas_limiters.pop().restore_original_limits()


class Workers:
    """A context in which `map` runs on `threads` threads, at least 1 (else ValueError), and BLAS runs on one.

    Results do not depend on the number of threads. Workers may be entered again later, but in one `with` at a time.
    """

    def __init__(self, threads: int = 1) -> None:
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads must be a whole number of at least 1, not {threads!r}")
        self.threads, self._pool = threads, None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Apply the function to every item and return the results in the order of the items."""
        if self._pool is None:
            raise RuntimeError(f"{self} works in a `with` only: with {self} as workers: ...")
        items = list(items)
        if self.threads == 1 or len(items) < 2:
            return [function(item) for item in items]
        results: list[Any] = [None] * len(items)
        # One task per thread, not per item: starting a task costs as much as gating ten thousand weights. Each thread
        # takes the next index from a shared iterator, whose `next` is atomic, until none is left.
        indices = iter(range(len(items)))

        def work() -> None:
            for i in indices:
                results[i] = function(items[i])

        tasks = [self._pool.submit(work) for _ in range(min(self.threads, len(items)) - 1)]
        try:
            work()
        finally:
            # Wait for tasks that have started, even after an error: they write to arrays that the caller may use again.
            started = [task for task in tasks if not task.cancel()]
            wait(started)
        for task in started:
            task.result()
        return results

    def __repr__(self) -> str:
        return f"Workers(threads={self.threads})"

    def __enter__(self) -> "Workers":
        if self._pool is not None:
            raise RuntimeError(f"{self} is in a `with` already: make another")
        # The calling thread works too, so the pool has one thread less.
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="npl0")
        _limit_blas(True)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        self._pool = None
        _limit_blas(False)
