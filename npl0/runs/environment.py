"""What a result was made with: versions, machine, data."""

import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from npl0 import __version__
from npl0.data.dataset import Dataset


@cache
def what_bits_depend_on() -> dict[str, Any]:
    """Return what the last bits of a result depend on, besides settings and data: versions, BLAS and processor."""
    return {
        "npl0": __version__,
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("numpy", "scipy", "numba")},
        # In a fixed order: that of loading depends on which library was imported first.
        "blas": sorted(
            [
                {key: pool.get(key) for key in ("internal_api", "version", "architecture")}
                for pool in threadpool_info()
                if pool.get("user_api") == "blas"
            ],
            key=str,
        ),
        "machine": platform.machine(),
        "cpu": cpu_name(),
    }


def describe_environment(threads: int, dataset: Dataset) -> dict[str, Any]:
    """Return the versions, the machine and the data that a result is made with."""
    platform_name = {"platform": platform.platform()}
    return {**what_bits_depend_on(), **platform_name, "threads": threads, "data": dataset.describe()}


def cpu_name() -> str:
    """Return the name of the processor, or what the platform says of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
