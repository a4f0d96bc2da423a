"""How much memory the process has taken."""

import sys

try:
    import resource
except ImportError:  # Windows has no such module.
    resource = None


def peak_memory_mb() -> float | None:
    """Return the most memory the process has ever had resident, in MB of 10^6 bytes; None where it cannot be told."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, all others kibibytes.
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
