"""Max-pooling and average-pooling of `(C, H, W, N)`, window k x k, stride s, no padding."""

import numpy as np

from npl0.ops.conv import out_size
from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, fresh


@kernel
def maxpool_kernel(x, size, stride, y, winner):
    """Fill `y[c, a, b] = max_{i, j} x[c, a s + i, b s + j]` and the number `i size + j` of the first such cell."""
    channels, out_h, out_w, n = y.shape
    for c in range(channels):
        for a in range(out_h):
            for b in range(out_w):
                best = y[c, a, b]
                where = winner[c, a, b]
                first = x[c, a * stride, b * stride]
                for e in range(n):
                    best[e] = first[e]
                    where[e] = 0
                for cell in range(1, size * size):
                    row = x[c, a * stride + cell // size, b * stride + cell % size]
                    number = np.uint8(cell)
                    # Arithmetic instead of a branch: a conditional store would keep the loop from vectorising.
                    # NaN is not equal to itself and wins, so that a maximum cannot hide it.
                    for e in range(n):
                        wins = (row[e] > best[e]) | (row[e] != row[e])
                        where[e] = max(where[e], number * np.uint8(wins))
                        best[e] = row[e] if wins else best[e]


@kernel
def maxpool_2x2_kernel(x, stride, y, winner):
    """Do what `maxpool_kernel` does for size 2, the four cells in registers: a quarter of the time."""
    channels, out_h, out_w, n = y.shape
    for c in range(channels):
        for a in range(out_h):
            for b in range(out_w):
                best = y[c, a, b]
                where = winner[c, a, b]
                top, left = a * stride, b * stride
                x0, x1 = x[c, top, left], x[c, top, left + 1]
                x2, x3 = x[c, top + 1, left], x[c, top + 1, left + 1]
                for e in range(n):
                    value, cell = x0[e], np.uint8(0)
                    wins = (x1[e] > value) | (x1[e] != x1[e])
                    value, cell = x1[e] if wins else value, np.uint8(1) if wins else cell
                    wins = (x2[e] > value) | (x2[e] != x2[e])
                    value, cell = x2[e] if wins else value, np.uint8(2) if wins else cell
                    wins = (x3[e] > value) | (x3[e] != x3[e])
                    value, cell = x3[e] if wins else value, np.uint8(3) if wins else cell
                    best[e], where[e] = value, cell


@kernel
def maxpool_backward_kernel(grad_y, winner, size, stride, grad_x):
    """Add grad_y to the winner of each window; all other cells get nothing."""
    channels, out_h, out_w, n = grad_y.shape
    overlap = stride < size
    if overlap or out_h * size != grad_x.shape[1] or out_w * size != grad_x.shape[2]:
        grad_x[:] = 0
    for c in range(channels):
        for a in range(out_h):
            for b in range(out_w):
                grad = grad_y[c, a, b]
                where = winner[c, a, b]
                for cell in range(size * size):
                    row = grad_x[c, a * stride + cell // size, b * stride + cell % size]
                    number = np.uint8(cell)
                    if overlap:
                        for e in range(n):
                            row[e] += grad[e] * (where[e] == number)
                    else:
                        for e in range(n):
                            row[e] = grad[e] * (where[e] == number)


def _windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """View x as (size², C, out_h, out_w, N): one strided slice for each cell of the window."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.moveaxis(view.reshape(*view.shape[:4], size * size), 4, 0)


def maxpool_reference(x: np.ndarray, size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the maximum and its first place with NumPy: the oracle of the kernel."""
    windows = _windows(x, size, stride)
    return windows.max(axis=0), windows.argmax(axis=0).astype(np.uint8)


def maxpool_backward_reference(
    grad_y: np.ndarray, winner: np.ndarray, x_shape: tuple[int, ...], size: int, stride: int
) -> np.ndarray:
    """Scatter grad_y with one slice for each window cell: the oracle of the kernel."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for cell in range(size * size):
        _cells(grad_x, cell, grad_y.shape, size, stride)[...] += np.where(winner == cell, grad_y, 0)
    return grad_x


def _cells(x: np.ndarray, cell: int, y_shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """View the cell of that number in every window of x, shape `y_shape`."""
    i, j = divmod(cell, size)
    return x[:, i : i + stride * y_shape[1] : stride, j : j + stride * y_shape[2] : stride][
        :, : y_shape[1], : y_shape[2]
    ]


def maxpool_forward(x: np.ndarray, size: int, stride: int, new: Allocator = fresh) -> tuple[np.ndarray, np.ndarray]:
    """Take the maximum of every window.

    Parameters
    ----------
    x : (C, H, W, N); size : side of the window, 1 to 16; stride : in pixels.

    Returns
    -------
    y : (C, out_h, out_w, N).
    winner : uint8, the same shape: the number `i size + j` of the (first) largest cell, which the backward needs.
    """
    channels, height, width, n = x.shape
    shape = (channels, out_size(height, size, stride, 0), out_size(width, size, stride, 0), n)
    y, winner = new.output(shape, x.dtype), new.kept("winner", shape, np.dtype(np.uint8))
    if size == 2:
        maxpool_2x2_kernel(x, stride, y, winner)
    else:
        maxpool_kernel(x, size, stride, y, winner)
    return y, winner


def maxpool_backward(
    grad_y: np.ndarray,
    winner: np.ndarray,
    x_shape: tuple[int, ...],
    size: int,
    stride: int,
    new: Allocator = fresh,
) -> np.ndarray:
    """Send `grad_y` to the winners: `grad_x[cell] = sum of grad_y over the windows that the cell won`."""
    grad_x = new.grad_input(x_shape, grad_y.dtype)
    maxpool_backward_kernel(grad_y, winner, size, stride, grad_x)
    return grad_x


def avgpool_forward(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Take the mean of every window: (C, H, W, N) to (C, out_h, out_w, N)."""
    shape = (
        x.shape[0],
        out_size(x.shape[1], size, stride, 0),
        out_size(x.shape[2], size, stride, 0),
        x.shape[3],
    )
    y = _cells(x, 0, shape, size, stride).copy()
    for cell in range(1, size * size):
        y += _cells(x, cell, shape, size, stride)
    y /= size * size
    return y


def avgpool_backward(grad_y: np.ndarray, x_shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """Spread `grad_y / size²` over every cell of its window."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    share = grad_y / (size * size)
    for cell in range(size * size):
        _cells(grad_x, cell, grad_y.shape, size, stride)[...] += share
    return grad_x
