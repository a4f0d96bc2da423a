"""The fully connected layer, `y = W x + b`, on columns of examples."""

import numpy as np

from npl0.ops.kernel import Allocator, fresh


def linear_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, new: Allocator = fresh) -> np.ndarray:
    """Compute `y = W x + b`.

    Parameters
    ----------
    x : (in_features, N); w : (out_features, in_features); b : (out_features,).

    Returns
    -------
    y : (out_features, N).
    """
    y = np.matmul(w, x, out=new("y", (w.shape[0], x.shape[1]), x.dtype))
    y += b[:, None]
    return y


def linear_backward(
    grad_y: np.ndarray, x: np.ndarray, w: np.ndarray, need_grad_x: bool = True, new: Allocator = fresh
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Differentiate `y = W x + b`.

    Returns
    -------
    grad_x : (in_features, N), `Wᵀ grad_y`, or None unless `need_grad_x`.
    grad_w : (out_features, in_features), `grad_y xᵀ`.
    grad_b : (out_features,), the sum of grad_y over the examples.
    """
    grad_w = np.matmul(grad_y, x.T, out=new("grad_w", w.shape, w.dtype))
    grad_b = grad_y.sum(axis=1)
    grad_x = np.matmul(w.T, grad_y, out=new("grad_x", x.shape, x.dtype)) if need_grad_x else None
    return grad_x, grad_w, grad_b
