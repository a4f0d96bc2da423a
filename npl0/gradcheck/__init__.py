"""Gradient checks: every hand-written backward pass against central differences, in float64.

`check_gradient` checks any function, and `CHECKS` lists the checks of this package. The tests compare the float32
kernels with their references, and plant faults that the checker must reject.
"""

from npl0.gradcheck.checks import CHECKS as CHECKS
from npl0.gradcheck.compare import Comparison as Comparison
from npl0.gradcheck.compare import check_gradient as check_gradient
from npl0.gradcheck.compare import compare as compare
