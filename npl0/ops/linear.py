"""The fully connected layer, `y = W x + b`; examples are columns.

Shapes: x (in_features, N), w (out_features, in_features), b (out_features,), y (out_features, N).
"""

import numpy as np

from npl0.runtime.scratch import Allocator, fresh


def linear_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, new: Allocator = fresh) -> np.ndarray:
    """Compute `y = W x + b`; b = None means no bias."""
    y = np.matmul(w, x, out=new.output((w.shape[0], x.shape[1]), x.dtype))
    if b is not None:
        y += b[:, None]
    return y


def linear_backward(
    grad_y: np.ndarray, x: np.ndarray, w: np.ndarray, need_grad_x: bool = True, new: Allocator = fresh
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return `grad_x = Wᵀ grad_y`, None unless `need_grad_x`, and `grad_w = grad_y xᵀ`; for b see `bias_backward`."""
    grad_w = np.matmul(grad_y, x.T, out=new.grad_weight(w.shape, w.dtype))
    grad_x = np.matmul(w.T, grad_y, out=new.grad_input(x.shape, x.dtype)) if need_grad_x else None
    return grad_x, grad_w


def bias_backward(grad_y: np.ndarray) -> np.ndarray:
    """Differentiate `y = ... + b` with respect to b: sum grad_y (out, ..., N) over all axes but the first."""
    return grad_y.reshape(grad_y.shape[0], -1).sum(axis=1)
