"""Max-pooling and average-pooling with a square window and no padding.

Shapes: x (C, H, W, N), y (C, out_h, out_w, N). The window of output (a, b) has its top left corner at (a stride,
b stride). Its cells are numbered row by row: cell (i, j) has the number i size + j.
"""

import numpy as np

from npl0.ops.conv import out_size
from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, fresh


@kernel
def maxpool_kernel(x, size, stride, y, winner):
    """Fill y with the maximum of each window and `winner` with the number of the first cell that has it."""
    channels, out_h, out_w, n = y.shape
    for c in range(channels):
        for a in range(out_h):
            for b in range(out_w):
                best, best_cell = y[c, a, b], winner[c, a, b]
                first = x[c, a * stride, b * stride]
                for e in range(n):
                    best[e] = first[e]
                    best_cell[e] = 0
                for cell in range(1, size * size):
                    row = x[c, a * stride + cell // size, b * stride + cell % size]
                    number = np.uint8(cell)
                    # Arithmetic instead of a branch, because a conditional store would keep the loop from vectorising.
                    # NaN, which is not equal to itself, wins, so a maximum cannot hide it.
                    for e in range(n):
                        wins = (row[e] > best[e]) | (row[e] != row[e])
                        best_cell[e] = max(best_cell[e], number * np.uint8(wins))
                        best[e] = row[e] if wins else best[e]


@kernel
def maxpool_2x2_kernel(x, stride, y, winner):
    """Compute `maxpool_kernel` for size 2 in a quarter of the time, with all four cells in registers."""
    channels, out_h, out_w, n = y.shape
    for c in range(channels):
        for a in range(out_h):
            for b in range(out_w):
                best, best_cell = y[c, a, b], winner[c, a, b]
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
                    best[e], best_cell[e] = value, cell


@kernel
def maxpool_backward_kernel(grad_y, winner, size, stride, grad_x):
    """Add each element of grad_y to the cell of grad_x that won its window; all other cells are 0."""
    channels, out_h, out_w, n = grad_y.shape
    overlap = stride < size
    if overlap or out_h * size != grad_x.shape[1] or out_w * size != grad_x.shape[2]:
        grad_x[:] = 0
    for c in range(channels):
        for a in range(out_h):
            for b in range(out_w):
                grad, best_cell = grad_y[c, a, b], winner[c, a, b]
                for cell in range(size * size):
                    row = grad_x[c, a * stride + cell // size, b * stride + cell % size]
                    number = np.uint8(cell)
                    if overlap:
                        for e in range(n):
                            row[e] += grad[e] * (best_cell[e] == number)
                    else:
                        for e in range(n):
                            row[e] = grad[e] * (best_cell[e] == number)


def _y_shape(x: np.ndarray, size: int, stride: int) -> tuple[int, int, int, int]:
    channels, height, width, n = x.shape
    return channels, out_size(height, size, stride, 0), out_size(width, size, stride, 0), n


def _cell_of_windows(x: np.ndarray, cell: int, y_shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """Return a view of x, of shape `y_shape`: the cell of this number in every window."""
    i, j = divmod(cell, size)
    _, out_h, out_w, _ = y_shape
    return x[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride]


def maxpool_reference(x: np.ndarray, size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `(y, winner)`: the oracle of the kernels."""
    y_shape = _y_shape(x, size, stride)
    windows = np.stack([_cell_of_windows(x, cell, y_shape, size, stride) for cell in range(size * size)])
    return windows.max(axis=0), windows.argmax(axis=0).astype(np.uint8)


def maxpool_backward_reference(grad_y, winner, x_shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """Return grad_x, added up cell by cell: the oracle of the kernel."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for cell in range(size * size):
        _cell_of_windows(grad_x, cell, grad_y.shape, size, stride)[...] += np.where(winner == cell, grad_y, 0)
    return grad_x


def maxpool_forward(x: np.ndarray, size: int, stride: int, new: Allocator = fresh) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of every window, and the number (uint8) of the first cell that has it; size is 1 to 16."""
    y_shape = _y_shape(x, size, stride)
    y, winner = new.output(y_shape, x.dtype), new.kept("winner", y_shape, np.dtype(np.uint8))
    if size == 2:
        maxpool_2x2_kernel(x, stride, y, winner)
    else:
        maxpool_kernel(x, size, stride, y, winner)
    return y, winner


def maxpool_backward(
    grad_y: np.ndarray, winner: np.ndarray, x_shape: tuple[int, ...], size: int, stride: int, new: Allocator = fresh
) -> np.ndarray:
    """Compute `grad_x[cell] = sum of grad_y over the windows that the cell won`."""
    grad_x = new.grad_input(x_shape, grad_y.dtype)
    maxpool_backward_kernel(grad_y, winner, size, stride, grad_x)
    return grad_x


def avgpool_forward(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Take the mean of every window."""
    y_shape = _y_shape(x, size, stride)
    y = _cell_of_windows(x, 0, y_shape, size, stride).copy()
    for cell in range(1, size * size):
        y += _cell_of_windows(x, cell, y_shape, size, stride)
    y /= size * size
    return y


def avgpool_backward(grad_y: np.ndarray, x_shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """Add `grad_y / size²` to every cell of its window."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    grad_cell = grad_y / (size * size)
    for cell in range(size * size):
        _cell_of_windows(grad_x, cell, grad_y.shape, size, stride)[...] += grad_cell
    return grad_x
