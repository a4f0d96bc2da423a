"""Batch normalisation (Ioffe & Szegedy 2015, algorithm 1) over all axes but the first, so 1-d and 2-d are one code.

With m values in a feature,  mean = sum x / m,  var = sum (x - mean)² / m,
x_hat = (x - mean) / sqrt(var + eps),  y = scale x_hat + shift.
"""

import numpy as np

from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, fresh

EPSILON = 1e-5

# Values summed in the type of the data before the sum is added to one in float64: it keeps the digits that one long sum
# in float32 would lose, and short sums vectorise.
RUN = 1024


@kernel
def batchnorm_kernel(x, scale, shift, epsilon, y, mean, var, inverse_std):
    """Do what `batchnorm_reference` does, a feature at a time: all passes but the first find it in the cache."""
    features, m = x.shape
    zero = x.dtype.type(0)
    for i in range(features):
        row, out = x[i], y[i]
        total = 0.0
        for start in range(0, m, RUN):
            part = zero
            for q in range(start, min(start + RUN, m)):
                part += row[q]
            total += part
        centre = x.dtype.type(total / m)
        total = 0.0
        for start in range(0, m, RUN):
            part = zero
            for q in range(start, min(start + RUN, m)):
                part += (row[q] - centre) * (row[q] - centre)
            total += part
        mean[i], var[i], inverse_std[i] = centre, total / m, 1 / np.sqrt(total / m + epsilon)
        factor, offset = scale[i] * inverse_std[i], shift[i]
        for q in range(m):
            out[q] = factor * (row[q] - centre) + offset


@kernel
def batchnorm_backward_kernel(grad_y, x, mean, inverse_std, scale, grad_x, grad_scale, grad_shift):
    """Do what `batchnorm_backward_reference` does, a feature at a time."""
    features, m = x.shape
    zero = x.dtype.type(0)
    for i in range(features):
        row, grad, out, centre = x[i], grad_y[i], grad_x[i], mean[i]
        total, product = 0.0, 0.0
        for start in range(0, m, RUN):
            part, part_product = zero, zero
            for q in range(start, min(start + RUN, m)):
                part += grad[q]
                part_product += grad[q] * (row[q] - centre)
            total += part
            product += part_product
        grad_shift[i], grad_scale[i] = total, product * inverse_std[i]
        factor = scale[i] * inverse_std[i]
        slope = factor * inverse_std[i] * x.dtype.type(grad_scale[i] / m)
        constant = factor * x.dtype.type(total / m)
        for q in range(m):
            out[q] = factor * grad[q] - slope * (row[q] - centre) - constant


def batchnorm_reference(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float = EPSILON
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return `(y, mean, var, inverse_std)` of (features, m), worked out by NumPy: the oracle of the kernel."""
    mean, var = x.mean(axis=1), x.var(axis=1)
    inverse_std = 1 / np.sqrt(var + epsilon)
    return scale[:, None] * (x - mean[:, None]) * inverse_std[:, None] + shift[:, None], mean, var, inverse_std


def batchnorm_backward_reference(
    grad_y: np.ndarray, x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(grad_x, grad_scale, grad_shift)`, worked out by NumPy: the oracle of the kernel."""
    x_hat = (x - mean[:, None]) * inverse_std[:, None]
    grad_shift, grad_scale = grad_y.sum(axis=1), (grad_y * x_hat).sum(axis=1)
    m = x.shape[1]
    centred = grad_y - grad_shift[:, None] / m - x_hat * (grad_scale / m)[:, None]
    return (scale * inverse_std)[:, None] * centred, grad_scale, grad_shift


def batchnorm_forward(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float = EPSILON, new: Allocator = fresh
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Normalise each feature by the statistics of this shard.

    Parameters
    ----------
    x : (features, ..., N), at least two values a feature; scale, shift : (features,).

    Returns
    -------
    y : the shape of x.
    cache : `(x, mean, inverse_std)`, shapes (features, m), (features,) and (features,).
    statistics : `(mean, var)`, each (features,), var divided by m - 1, for the running averages.

    Raises
    ------
    ValueError
        If a feature has a single value: its variance says nothing.
    """
    rows = x.reshape(x.shape[0], -1)
    features, m = rows.shape
    if m < 2:
        raise ValueError(
            "batch norm needs at least 2 values a feature in training, so more than one example in every shard"
        )
    mean, var, inverse_std = np.empty((3, features), x.dtype)
    y = new.output(rows.shape, x.dtype)
    batchnorm_kernel(rows, scale, shift, epsilon, y, mean, var, inverse_std)
    return y.reshape(x.shape), (rows, mean, inverse_std), (mean, var * x.dtype.type(m / (m - 1)))


def batchnorm_backward(
    grad_y: np.ndarray,
    cache: tuple[np.ndarray, np.ndarray, np.ndarray],
    scale: np.ndarray,
    new: Allocator = fresh,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differentiate `y = scale x_hat + shift`, the mean and the variance being functions of x.

    Returns
    -------
    grad_x : `scale inverse_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat))`; the means come from the statistics.
    grad_scale : `sum grad_y x_hat`; grad_shift : `sum grad_y`.
    """
    rows, mean, inverse_std = cache
    grad_x = new.grad_input(rows.shape, grad_y.dtype)
    grad_scale, grad_shift = np.empty((2, len(rows)), grad_y.dtype)
    batchnorm_backward_kernel(
        grad_y.reshape(rows.shape), rows, mean, inverse_std, scale, grad_x, grad_scale, grad_shift
    )
    return grad_x.reshape(grad_y.shape), grad_scale, grad_shift


def batchnorm_inference(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    epsilon: float = EPSILON,
    new: Allocator = fresh,
) -> np.ndarray:
    """Normalise by the running statistics: one multiplication and one addition a value."""
    factor = (scale / np.sqrt(running_var + epsilon)).astype(x.dtype)
    offset = (shift - running_mean * factor).astype(x.dtype)
    column = (-1,) + (1,) * (x.ndim - 1)
    y = np.multiply(x, factor.reshape(column), out=new.output(x.shape, x.dtype))
    y += offset.reshape(column)
    return y
