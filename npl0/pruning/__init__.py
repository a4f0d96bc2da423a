"""Pruning methods, each a `Pruner`."""

from npl0.pruning.base import Masks, Pruner, apply_masks, density
from npl0.pruning.fixed_mask import FixedMask
from npl0.pruning.l0 import L0
from npl0.pruning.magnitude import Magnitude, keep_largest

__all__ = ["L0", "FixedMask", "Magnitude", "Masks", "Pruner", "apply_masks", "density", "keep_largest"]
