"""Convolution as one matrix product: `y = W.reshape(out, -1) @ im2col(x)`.

Arrays are `(channels, height, width, N)`, so the product already has the layout of the next layer and every inner loop
runs over the batch. Like every deep-learning library this computes the cross-correlation,

    y[o, a, b, n] = bias[o] + sum_{c, i, j} w[o, c, i, j] x[c, a s + i - p, b s + j - p, n]      (x is 0 outside)

with stride s and padding p.
"""

import numpy as np

from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, fresh


def out_size(size: int, kernel_size: int, stride: int, padding: int) -> int:
    """Return the number of positions of a window along one axis (not positive: the window does not fit)."""
    return (size + 2 * padding - kernel_size) // stride + 1


@kernel
def im2col_kernel(x, kh, kw, stride, padding, cols):
    """Fill `cols[(c, i, j), (a, b, n)] = x[c, a s + i - p, b s + j - p, n]`."""
    channels, height, width, n = x.shape
    out_h = (height + 2 * padding - kh) // stride + 1
    out_w = (width + 2 * padding - kw) // stride + 1
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                row = cols[(c * kh + i) * kw + j]
                for a in range(out_h):
                    h = a * stride + i - padding
                    for b in range(out_w):
                        w = b * stride + j - padding
                        q = (a * out_w + b) * n
                        if 0 <= h < height and 0 <= w < width:
                            source = x[c, h, w]
                            for e in range(n):
                                row[q + e] = source[e]
                        else:
                            for e in range(n):
                                row[q + e] = 0


@kernel
def col2im_kernel(cols, kh, kw, stride, padding, x):
    """Add `cols[(c, i, j), (a, b, n)]` to `x[c, a s + i - p, b s + j - p, n]`: the transpose of im2col."""
    channels, height, width, n = x.shape
    out_h = (height + 2 * padding - kh) // stride + 1
    out_w = (width + 2 * padding - kw) // stride + 1
    x[:] = 0
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                row = cols[(c * kh + i) * kw + j]
                for a in range(out_h):
                    h = a * stride + i - padding
                    for b in range(out_w):
                        w = b * stride + j - padding
                        if 0 <= h < height and 0 <= w < width:
                            q = (a * out_w + b) * n
                            target = x[c, h, w]
                            for e in range(n):
                                target[e] += row[q + e]


def im2col_reference(x: np.ndarray, kh: int, kw: int, stride: int, padding: int) -> np.ndarray:
    """Compute im2col from NumPy's strided windows: the oracle of the kernel."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(x.shape[0] * kh * kw, -1)


def col2im_reference(
    cols: np.ndarray, shape: tuple[int, ...], kh: int, kw: int, stride: int, padding: int
) -> np.ndarray:
    """Compute col2im by scattering with `np.add.at`: the oracle of the kernel."""
    channels, height, width, n = shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding, n), cols.dtype)
    index = np.arange(padded.size).reshape(padded.shape)
    np.add.at(padded.reshape(-1), im2col_reference(index, kh, kw, stride, 0).reshape(-1), cols.reshape(-1))
    return padded[:, padding : padding + height, padding : padding + width]


def columns_shape(shape: tuple[int, ...], kh: int, kw: int, stride: int = 1, padding: int = 0) -> tuple[int, int]:
    """Return the shape of `im2col` of an x of this shape."""
    channels, height, width, n = shape
    positions = out_size(height, kh, stride, padding) * out_size(width, kw, stride, padding)
    return channels * kh * kw, positions * n


def im2col(
    x: np.ndarray, kh: int, kw: int, stride: int = 1, padding: int = 0, out: np.ndarray | None = None
) -> np.ndarray:
    """Lay every window of x out as a column.

    Parameters
    ----------
    x : (C, H, W, N), C-contiguous; kh, kw : the window; stride, padding : in pixels, alike for both axes.
    out : where to write it, of shape `columns_shape`; None: a new array.

    Returns
    -------
    cols : (C kh kw, out_h out_w N).
    """
    cols = np.empty(columns_shape(x.shape, kh, kw, stride, padding), x.dtype) if out is None else out
    im2col_kernel(x, kh, kw, stride, padding, cols)
    return cols


def col2im(
    cols: np.ndarray,
    shape: tuple[int, ...],
    kh: int,
    kw: int,
    stride: int = 1,
    padding: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Sum the columns back to where `im2col` took them from; `shape` is the shape of that x, and of `out`."""
    x = np.empty(shape, cols.dtype) if out is None else out
    col2im_kernel(cols, kh, kw, stride, padding, x)
    return x


def conv2d_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: int = 1, padding: int = 0, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `y = W.reshape(out, -1) @ im2col(x) + b`.

    Parameters
    ----------
    x : (in, H, W, N); w : (out, in, kh, kw); b : (out,), or None for 0.

    Returns
    -------
    y : (out, out_h, out_w, N).
    cols : im2col(x), which the backward needs.
    """
    out_channels, _, kh, kw = w.shape
    _, height, width, n = x.shape
    cols = new.kept("cols", columns_shape(x.shape, kh, kw, stride, padding), x.dtype)
    im2col(x, kh, kw, stride, padding, cols)
    y = np.matmul(w.reshape(out_channels, -1), cols, out=new.output((out_channels, cols.shape[1]), x.dtype))
    if b is not None:
        y += b[:, None]
    shape = (out_channels, out_size(height, kh, stride, padding), out_size(width, kw, stride, padding), n)
    return y.reshape(shape), cols


def conv2d_backward(
    grad_y: np.ndarray,
    cols: np.ndarray,
    w: np.ndarray,
    x_shape: tuple[int, ...],
    stride: int = 1,
    padding: int = 0,
    need_grad_x: bool = True,
    new: Allocator = fresh,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Differentiate `y = W.reshape(out, -1) @ im2col(x) + b` by x and W; `linear.bias_backward` has b.

    Parameters
    ----------
    grad_y : (out, out_h, out_w, N); cols : what the forward returned; w : (out, in, kh, kw); x_shape : (in, H, W, N).

    Returns
    -------
    grad_x : (in, H, W, N), `col2im(Wᵀ grad_y)`, or None unless `need_grad_x`.
    grad_w : (out, in, kh, kw), `grad_y colsᵀ`.
    """
    out_channels, _, kh, kw = w.shape
    grad_rows = grad_y.reshape(out_channels, -1)
    grad_w = np.matmul(grad_rows, cols.T, out=new.grad_weight((out_channels, cols.shape[0]), w.dtype))
    grad_x = None
    if need_grad_x:
        flat_w = w.reshape(out_channels, -1)
        grad_cols = np.matmul(flat_w.T, grad_rows, out=new.temporary("grad_cols", cols.shape, cols.dtype))
        grad_x = new.grad_input(x_shape, cols.dtype)
        col2im(grad_cols, x_shape, kh, kw, stride, padding, grad_x)
    return grad_x, grad_w.reshape(w.shape)
