"""Gradient checks: every hand-written backward pass against central differences, in float64.

`check_gradient` checks any function. `CHECKS` lists the checks of this package, and `FAULTS` wrong backward passes that
they must reject. The float32 kernels are compared with their references in the tests, not here.
"""

from npl0.gradcheck.checks import CHECKS as CHECKS
from npl0.gradcheck.compare import Comparison as Comparison
from npl0.gradcheck.compare import check_gradient as check_gradient
from npl0.gradcheck.compare import compare as compare
from npl0.gradcheck.faults import FAULTS as FAULTS
