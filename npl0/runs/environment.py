"""What a result was made with: versions, machine, data."""

import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from npl0 import __version__
from npl0.data.dataset import Dataset


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Return name, sizes, fingerprint, and whether the set is the published one."""
    return {
        "name": dataset.name,
        "train": len(dataset.train_images),
        "test": len(dataset.test_images),
        "fingerprint": dataset.fingerprint,
        "canonical": dataset.canonical,
    }


def describe_environment(threads: int, dataset: Dataset) -> dict[str, Any]:
    """Return the versions, the machine and the data that a result is made with."""
    return {
        "npl0": __version__,
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("numpy", "scipy", "numba", "threadpoolctl", "tqdm")},
        "blas": [
            {key: pool.get(key) for key in ("internal_api", "version", "architecture")}
            for pool in threadpool_info()
            if pool.get("user_api") == "blas"
        ],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "threads": threads,
        "data": describe_data(dataset),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
