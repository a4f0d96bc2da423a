"""Every hand-written backward against central differences, and planted faults against the checker.

`check_gradient` is for any function; `CHECKS` is the registry of what the package has, `FAULTS` of what the checker
must catch. `python -m npl0 gradcheck` runs both. All of it is float64: the float32 kernels are another code path, which
the tests compare with their references.
"""

from npl0.gradcheck.checks import CHECKS
from npl0.gradcheck.compare import FLOOR, TOLERANCE, Comparison, check_gradient, compare
from npl0.gradcheck.faults import FAULTS
from npl0.gradcheck.problem import Check, Draw, Fault, GradientProblem, UpdateProblem

__all__ = [
    "CHECKS",
    "FAULTS",
    "FLOOR",
    "TOLERANCE",
    "Check",
    "Comparison",
    "Draw",
    "Fault",
    "GradientProblem",
    "UpdateProblem",
    "check_gradient",
    "compare",
]
