"""The fully connected layer, `y = W x + b`, on columns of examples."""

import numpy as np

from npl0.runtime.scratch import Allocator, fresh


def linear_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, new: Allocator = fresh) -> np.ndarray:
    """Compute `y = W x + b`.

    Parameters
    ----------
    x : (in_features, N); w : (out_features, in_features); b : (out_features,), or None for 0.

    Returns
    -------
    y : (out_features, N).
    """
    y = np.matmul(w, x, out=new.output((w.shape[0], x.shape[1]), x.dtype))
    if b is not None:
        y += b[:, None]
    return y


def linear_backward(
    grad_y: np.ndarray, x: np.ndarray, w: np.ndarray, need_grad_x: bool = True, new: Allocator = fresh
) -> tuple[np.ndarray | None, np.ndarray]:
    """Differentiate `y = W x + b` by x and W; `bias_backward` has b.

    Returns
    -------
    grad_x : (in_features, N), `Wᵀ grad_y`, or None unless `need_grad_x`.
    grad_w : (out_features, in_features), `grad_y xᵀ`.
    """
    grad_w = np.matmul(grad_y, x.T, out=new.grad_weight(w.shape, w.dtype))
    grad_x = np.matmul(w.T, grad_y, out=new.grad_input(x.shape, x.dtype)) if need_grad_x else None
    return grad_x, grad_w


def bias_backward(grad_y: np.ndarray) -> np.ndarray:
    """Differentiate `y = ... + b` by b: the sum of grad_y (out, ..., N) over all axes but the first, shape (out,)."""
    return grad_y.reshape(grad_y.shape[0], -1).sum(axis=1)
