"""Workers: the order of results, errors, and the threads of BLAS."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock
from threadpoolctl import threadpool_info

from npl0.runs import progress
from npl0.runtime import threads
from npl0.runtime.threads import Workers, available_threads


def blas_threads():
    """Return the number of threads of every loaded BLAS."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_results_are_in_the_order_of_the_items(threads, count):
    with Workers(threads) as workers:
        assert workers.map(lambda i: i * i, iter(range(count))) == [i * i for i in range(count)]


def test_items_are_shared_between_threads():
    barrier = threading.Barrier(2, timeout=20)
    with Workers(2) as workers:
        # Neither item can finish unless two threads work at the same time.
        names = workers.map(lambda _: (barrier.wait(), threading.get_ident())[1], range(2))
    assert len(set(names)) == 2


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_is_raised_only_when_no_thread_works_any_more(wrong):
    running, barrier = set(), threading.Barrier(2, timeout=20)

    def work(item):
        running.add(item)
        barrier.wait()
        if item == wrong:
            running.remove(item)
            raise RuntimeError(f"item {item}")
        time.sleep(0.05)
        running.remove(item)

    with Workers(2) as workers:
        with pytest.raises(RuntimeError, match=f"item {wrong}"):
            workers.map(work, range(2))
        assert not running
        assert workers.map(abs, [-1, -2, -3]) == [1, 2, 3]


def test_blas_has_one_thread_inside_and_its_own_number_afterwards():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas_threads()
    with Workers(2):
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_has_one_thread_in_any_thread_that_comes_after_another():
    found = []

    def count():
        with Workers(1):
            found.append(set(blas_threads()))

    count()
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    assert found == [{1}, {1}]


def test_overlapping_workers_share_one_limit_and_the_last_restores_it():
    before = blas_threads()
    first, second = Workers(1).__enter__(), Workers(2).__enter__()
    thread = threading.Thread(target=first.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert set(blas_threads()) == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == before


def test_workers_may_be_entered_again_and_limit_blas_in_a_with_only():
    before, workers = blas_threads(), Workers(2)
    assert blas_threads() == before
    with pytest.raises(RuntimeError, match=r"Workers\(threads=2\) works in a `with` only"):
        workers.map(abs, [-1])
    for _ in range(2):
        with workers:
            assert set(blas_threads()) == {1}
            assert workers.map(abs, [-1, -2]) == [1, 2]
            with pytest.raises(RuntimeError, match="is in a `with` already: make another"), workers:
                pass
            assert workers.map(abs, [-3, -4]) == [3, 4]
        assert blas_threads() == before


def test_a_blas_that_is_loaded_later_is_limited():
    code = """if True:
        from threadpoolctl import threadpool_info
        from npl0.runtime.threads import Workers
        count = lambda: [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
        with Workers(2):
            print(count())
        import scipy.linalg
        before = count()
        with Workers(2):
            print(count())
        print(count() == before)
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if process.stdout.startswith("[1]\n[1]\n"):
        pytest.skip("NumPy and SciPy share one BLAS here")
    assert process.stdout == "[1]\n[1, 1]\nTrue\n"


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2"])
def test_a_wrong_number_of_threads_is_refused(threads):
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1, not"):
        Workers(threads)


def test_what_is_printed_and_counted():
    with Workers(3) as workers:
        assert repr(workers) == "Workers(threads=3)"
    assert available_threads() >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    "lock",
    [lambda: threads._blas_lock, lambda: global_compiler_lock, progress._Bar.get_lock],
    ids=["BLAS", "compiler", "bar"],
)
def test_a_child_forked_while_another_thread_holds_a_lock_can_take_it(lock):
    held = threading.Event()

    def hold():
        with lock():
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with warnings.catch_warnings():
        # Python warns of a fork in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # A child that hangs ends by this signal.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        with lock():
            os._exit(0)
    thread.join()
    with lock():
        assert os.waitpid(child, 0)[1] == 0
