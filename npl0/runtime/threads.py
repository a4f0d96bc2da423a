"""Threads that work on shards, with BLAS held to one thread each.

Two pools on the same cores are slower than one thread, and BLAS that splits a product by the number of cores would make
results depend on the machine; so the only parallelism is here, over work whose division is fixed by the configuration.
"""

import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

# Elements of an array that one task works on: long enough to hide the call, short enough to share evenly.
BLOCK = 65536

T = TypeVar("T")
R = TypeVar("R")


def available_threads() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _blas_controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds, more than the prediction of an image.
    return ThreadpoolController()


class Workers:
    """A context in which `map` runs on `threads` threads and BLAS runs on one.

    Parameters
    ----------
    threads : number of threads, >= 1; results do not depend on it.

    Raises
    ------
    ValueError
        If threads is less than 1.
    """

    def __init__(self, threads: int = 1) -> None:
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads must be a whole number of at least 1, not {threads!r}")
        self.threads = threads
        # The caller's thread is one of them: it would only wait.
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="npl0") if threads > 1 else None
        self._blas = _blas_controller().limit(limits=1, user_api="blas")

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Apply function to every item and return the results in the order of the items."""
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        results: list[Any] = [None] * len(items)
        # One task for each thread, not for each item: a task costs as much as gating ten thousand weights.
        # Threads take the next number from one counter (`next` is atomic), so no thread waits while items are left.
        numbers = itertools.count()

        def work() -> None:
            while (i := next(numbers)) < len(items):
                results[i] = function(items[i])

        others = [self._pool.submit(work) for _ in range(min(self.threads, len(items)) - 1)]
        try:
            work()
        finally:
            # All items are taken now, or one failed: who has not begun need not, and who has must be waited for, even
            # after an error, since what it writes must not outlive this call.
            running = [other for other in others if not other.cancel()]
            wait(running)
        for other in running:
            other.result()
        return results

    def close(self) -> None:
        """Stop the threads and give BLAS its own back."""
        if self._pool is not None:
            self._pool.shutdown()
        self._blas.restore_original_limits()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
