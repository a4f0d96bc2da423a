"""Pruning methods, each a `Pruner`."""

from npl0.pruning.base import Pruner, apply_masks, density
from npl0.pruning.checkup import Masks, PruningWarning
from npl0.pruning.fixed_mask import FixedMask
from npl0.pruning.l0 import L0
from npl0.pruning.magnitude import Magnitude, keep_largest

__all__ = [
    "L0",
    "FixedMask",
    "Magnitude",
    "Masks",
    "Pruner",
    "PruningWarning",
    "apply_masks",
    "density",
    "keep_largest",
]
