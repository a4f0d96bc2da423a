"""The memory that the process uses."""

import sys


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of the process in MB (10^6 bytes), or None on Windows, where it is unknown."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes on macOS, KiB elsewhere
