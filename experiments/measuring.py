"""What the benchmarks share: a clock, numbers on the command line, and an environment that forces nothing on BLAS."""

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

# They force an older BLAS kernel than the processor's own.
FORCED_KERNEL = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def own_kernel_environment() -> dict[str, str]:
    """Return this process's environment without what forces a BLAS kernel."""
    return {name: value for name, value in os.environ.items() if name not in FORCED_KERNEL}


def restart_if_kernel_is_forced() -> None:
    """Let another process do the work and exit, where a BLAS kernel is forced: BLAS read that when it was loaded."""
    if any(name in os.environ for name in FORCED_KERNEL):
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=own_kernel_environment()).returncode)


def best_ms(run: Callable[[], Any], repeats: int = 1) -> float:
    """Return the smallest time of a call, in milliseconds."""
    best = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        best = min(best, 1e3 * (time.perf_counter() - began))
    return best


def positive(text: str) -> int:
    """Read a whole number of at least 1 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
