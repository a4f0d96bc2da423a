"""Elementwise operations between layers, on arrays of any shape: ReLU and dropout."""

import numpy as np

from npl0.runtime.scratch import Allocator, fresh


def relu_forward(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Compute `y = max(x, 0)`; NaN stays NaN. `out` may be x itself."""
    return np.maximum(x, 0, out=out)


def relu_backward(grad_y: np.ndarray, y: np.ndarray, new: Allocator = fresh) -> np.ndarray:
    """Compute `grad_x = grad_y` where y > 0, else 0; the derivative at x = 0 is taken as 0."""
    return np.multiply(grad_y, y > 0, out=new.grad_input(y.shape, y.dtype))


def dropout_forward(x: np.ndarray, u: np.ndarray, rate: float, new: Allocator = fresh) -> tuple[np.ndarray, np.ndarray]:
    """Return `(y, multiplier)`, `y = x * multiplier`; the backward pass needs the multiplier.

    multiplier = (u >= rate) / (1 - rate)      (inverted dropout, Srivastava et al. 2014)

    for uniform noise u in [0, 1) of the shape of x; `rate`, in [0, 1), is the probability that an element becomes 0.
    """
    multiplier = new.kept("multiplier", x.shape, x.dtype)
    np.multiply(u >= rate, 1 / (1 - rate), out=multiplier, casting="same_kind")
    return np.multiply(x, multiplier, out=new.output(x.shape, x.dtype)), multiplier


def dropout_backward(grad_y: np.ndarray, multiplier: np.ndarray, new: Allocator = fresh) -> np.ndarray:
    """Compute `grad_x = grad_y * multiplier`."""
    return np.multiply(grad_y, multiplier, out=new.grad_input(grad_y.shape, grad_y.dtype))
