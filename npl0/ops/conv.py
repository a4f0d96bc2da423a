"""Convolution as one matrix product, `y = W im2col(x) + b`.

As in every deep-learning library, a convolution is the cross-correlation, with x taken as 0 outside its sides:

    y[o, a, b, n] = bias[o] + sum_{c, i, j} w[o, c, i, j] x[c, a stride + i - padding, b stride + j - padding, n]

im2col copies each window of x into a column, which turns the sum into a matrix product with W = w as (out, in kh kw):

    cols[(c, i, j), (a, b, n)] = x[c, a stride + i - padding, b stride + j - padding, n]

The examples are the last axis, so the product has the layout of the next layer's x, and inner loops run over examples.

Shapes: x (in, H, W, N), w (out, in, kh, kw), b (out,), y (out, out_h, out_w, N), cols (in kh kw, out_h out_w N).
"""

import numpy as np

from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, Shape, fresh


def out_size(size: int, kernel_size: int, stride: int, padding: int) -> int:
    """Return the number of window positions along one axis; if it is not positive, the window does not fit."""
    return (size + 2 * padding - kernel_size) // stride + 1


@kernel
def im2col_kernel(x, stride, padding, cols):
    """Fill `cols` (in, kh, kw, out_h, out_w, N) with the windows of x."""
    channels, kh, kw, out_h, out_w, n = cols.shape
    _, height, width, _ = x.shape
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                for a in range(out_h):
                    h = a * stride + i - padding
                    for b in range(out_w):
                        w = b * stride + j - padding
                        if 0 <= h < height and 0 <= w < width:
                            for e in range(n):
                                cols[c, i, j, a, b, e] = x[c, h, w, e]
                        else:
                            for e in range(n):
                                cols[c, i, j, a, b, e] = 0


@kernel
def col2im_kernel(cols, stride, padding, x):
    """Compute the transpose of im2col: sum into each element of x all elements of `cols` that are copies of it."""
    channels, kh, kw, out_h, out_w, n = cols.shape
    _, height, width, _ = x.shape
    x[:] = 0
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                for a in range(out_h):
                    h = a * stride + i - padding
                    for b in range(out_w):
                        w = b * stride + j - padding
                        if 0 <= h < height and 0 <= w < width:
                            for e in range(n):
                                x[c, h, w, e] += cols[c, i, j, a, b, e]


def im2col_reference(x: np.ndarray, kh: int, kw: int, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Return `cols`, made of NumPy's strided windows: the oracle of the kernel."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(x.shape[0] * kh * kw, -1)


def col2im_reference(cols: np.ndarray, shape: Shape, kh: int, kw: int, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Return x of the given shape, summed with `np.add.at`: the oracle of the kernel."""
    channels, height, width, n = shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding, n), cols.dtype)
    index = np.arange(padded.size).reshape(padded.shape)
    np.add.at(padded.reshape(-1), im2col_reference(index, kh, kw, stride).reshape(-1), cols.reshape(-1))
    return padded[:, padding : padding + height, padding : padding + width]


def conv2d_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: int = 1, padding: int = 0, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray]:
    """Return `y = W im2col(x) + b` and `cols = im2col(x)`, which the backward pass needs; b = None means no bias."""
    (channels, height, width, n), (out_channels, _, kh, kw) = x.shape, w.shape
    out_h, out_w = out_size(height, kh, stride, padding), out_size(width, kw, stride, padding)
    cols = new.kept("cols", (channels, kh, kw, out_h, out_w, n), x.dtype)
    im2col_kernel(x, stride, padding, cols)
    cols = cols.reshape(channels * kh * kw, -1)
    y = np.matmul(w.reshape(out_channels, -1), cols, out=new.output((out_channels, cols.shape[1]), x.dtype))
    if b is not None:
        y += b[:, None]
    return y.reshape(out_channels, out_h, out_w, n), cols


def conv2d_backward(
    grad_y: np.ndarray, cols: np.ndarray, w: np.ndarray, x_shape: Shape, stride, padding, need_grad_x=True, new=fresh
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return `grad_x = col2im(Wᵀ grad_y)`, None unless `need_grad_x`, and `grad_w = grad_y colsᵀ`.

    For b see `linear.bias_backward`.
    """
    grad_rows, flat_w = grad_y.reshape(len(w), -1), w.reshape(len(w), -1)
    grad_w = np.matmul(grad_rows, cols.T, out=new.grad_weight(flat_w.shape, w.dtype))
    grad_x = None
    if need_grad_x:
        grad_cols = np.matmul(flat_w.T, grad_rows, out=new.temporary("grad_cols", cols.shape, cols.dtype))
        grad_x = new.grad_input(x_shape, cols.dtype)
        col2im_kernel(grad_cols.reshape(*w.shape[1:], *grad_y.shape[1:]), stride, padding, grad_x)
    return grad_x, grad_w.reshape(w.shape)
