"""Elementwise operations between layers: ReLU and dropout."""

import numpy as np

from npl0.runtime.scratch import Allocator, fresh


def relu_forward(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Compute `y = max(x, 0)`, any shape; NaN stays NaN. `out` may be x itself."""
    return np.maximum(x, 0, out=out)


def relu_backward(grad_y: np.ndarray, y: np.ndarray, new: Allocator = fresh) -> np.ndarray:
    """Compute `grad_x = grad_y` where y > 0, else 0 (the derivative at the kink is taken as 0)."""
    return np.multiply(grad_y, y > 0, out=new.grad_input(y.shape, y.dtype))


def dropout_forward(x: np.ndarray, u: np.ndarray, rate: float, new: Allocator = fresh) -> tuple[np.ndarray, np.ndarray]:
    """Compute `y = x * keep / (1 - rate)` with `keep = (u >= rate)` (inverted dropout, Srivastava et al. 2014).

    Parameters
    ----------
    x : any shape; u : uniform noise in [0, 1) of the same shape; rate : probability of a zero, in [0, 1).

    Returns
    -------
    y : the shape of x.
    factor : `keep / (1 - rate)`, which the backward multiplies by.
    """
    factor = np.multiply(u >= rate, 1 / (1 - rate), out=new.kept("factor", x.shape, x.dtype), casting="same_kind")
    return np.multiply(x, factor, out=new.output(x.shape, x.dtype)), factor


def dropout_backward(grad_y: np.ndarray, factor: np.ndarray, new: Allocator = fresh) -> np.ndarray:
    """Compute `grad_x = grad_y * keep / (1 - rate)`."""
    return np.multiply(grad_y, factor, out=new.grad_input(grad_y.shape, grad_y.dtype))
