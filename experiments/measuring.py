"""What the benchmarks share: a clock, and an environment that does not force a BLAS kernel."""

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
    """Return the environment of this process without the variables that force a BLAS kernel."""
    return {name: value for name, value in os.environ.items() if name not in FORCED_KERNEL}


def restart_if_kernel_is_forced() -> None:
    """Run the script again, without these variables, if they are set: BLAS has already read them in this process."""
    if any(name in os.environ for name in FORCED_KERNEL):
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=own_kernel_environment()).returncode)


def best_ms(run: Callable[[], Any], repeats: int = 1) -> float:
    """Return the shortest time of a call, in milliseconds."""
    best = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        best = min(best, 1e3 * (time.perf_counter() - began))
    return best
