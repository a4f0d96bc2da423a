"""Batch normalisation (Ioffe & Szegedy 2015, algorithm 1) over all axes but the first.

Each feature (or channel) has m values, and

    mean = sum x / m,   var = sum (x - mean)² / m,   inverse_std = 1 / sqrt(var + epsilon),
    x_hat = (x - mean) inverse_std,   y = scale x_hat + shift.

mean and var depend on x, so the backward has a term for each:

    grad_x = scale inverse_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat)),
    grad_scale = sum grad_y x_hat,   grad_shift = sum grad_y.

Shapes: x, y (features, ..., N), for kernels and references (features, m); all others (features,).
"""

from collections.abc import Sequence

import numpy as np

from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, fresh

EPSILON = 1e-5

# A sum adds up chunks in the dtype of x and the chunks in float64: short sums vectorise, and a single float32 sum over
# all values would lose digits.
CHUNK = 1024


@kernel
def batchnorm_kernel(x, scale, shift, epsilon, y, mean, var, inverse_std):
    """Compute `batchnorm_reference` feature by feature, so that only the first of three passes reads from memory."""
    features, m = x.shape
    zero = x.dtype.type(0)
    for i in range(features):
        row, out = x[i], y[i]
        total = 0.0
        for start in range(0, m, CHUNK):
            part = zero
            for q in range(start, min(start + CHUNK, m)):
                part += row[q]
            total += part
        centre = x.dtype.type(total / m)
        total = 0.0
        for start in range(0, m, CHUNK):
            part = zero
            for q in range(start, min(start + CHUNK, m)):
                part += (row[q] - centre) * (row[q] - centre)
            total += part
        mean[i], var[i], inverse_std[i] = centre, total / m, 1 / np.sqrt(total / m + epsilon)
        gain, offset = scale[i] * inverse_std[i], shift[i]
        for q in range(m):
            out[q] = gain * (row[q] - centre) + offset


@kernel
def batchnorm_backward_kernel(grad_y, x, mean, inverse_std, scale, grad_x, grad_scale, grad_shift):
    """Compute `batchnorm_backward_reference` feature by feature."""
    features, m = x.shape
    zero = x.dtype.type(0)
    for i in range(features):
        row, grad, out, centre = x[i], grad_y[i], grad_x[i], mean[i]
        total, product = 0.0, 0.0
        for start in range(0, m, CHUNK):
            part, part_product = zero, zero
            for q in range(start, min(start + CHUNK, m)):
                part += grad[q]
                part_product += grad[q] * (row[q] - centre)
            total += part
            product += part_product
        grad_shift[i], grad_scale[i] = total, product * inverse_std[i]
        gain = scale[i] * inverse_std[i]
        slope = gain * inverse_std[i] * x.dtype.type(grad_scale[i] / m)
        constant = gain * x.dtype.type(total / m)
        for q in range(m):
            out[q] = gain * grad[q] - slope * (row[q] - centre) - constant


def batchnorm_reference(x, scale, shift, epsilon: float = EPSILON) -> tuple[np.ndarray, ...]:
    """Return `(y, mean, var, inverse_std)`: the oracle of the kernel."""
    mean, var = x.mean(axis=1), x.var(axis=1)
    inverse_std = 1 / np.sqrt(var + epsilon)
    return scale[:, None] * (x - mean[:, None]) * inverse_std[:, None] + shift[:, None], mean, var, inverse_std


def batchnorm_backward_reference(grad_y, x, mean, inverse_std, scale) -> tuple[np.ndarray, ...]:
    """Return `(grad_x, grad_scale, grad_shift)`: the oracle of the kernel."""
    x_hat = (x - mean[:, None]) * inverse_std[:, None]
    grad_shift, grad_scale = grad_y.sum(axis=1), (grad_y * x_hat).sum(axis=1)
    m = x.shape[1]
    centred = grad_y - grad_shift[:, None] / m - x_hat * (grad_scale / m)[:, None]
    return (scale * inverse_std)[:, None] * centred, grad_scale, grad_shift


def batchnorm_forward(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float = EPSILON, new: Allocator = fresh
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], tuple[int, np.ndarray, np.ndarray]]:
    """Normalise x by its own mean and variance; ValueError if a feature has a single value, whose variance is 0.

    Returns
    -------
    y : the shape of x.
    cache : `(x, mean, inverse_std)`, x as (features, m), for the backward pass.
    statistics : `(m, mean, var)`, for `pooled_statistics`.
    """
    rows = x.reshape(x.shape[0], -1)
    features, m = rows.shape
    if m < 2:
        raise ValueError("batch norm needs at least 2 values a feature in training: more than one example per shard")
    mean, var, inverse_std = np.empty((3, features), x.dtype)
    y = new.output(rows.shape, x.dtype)
    batchnorm_kernel(rows, scale, shift, epsilon, y, mean, var, inverse_std)
    return y.reshape(x.shape), (rows, mean, inverse_std), (m, mean, var)


def pooled_statistics(shards: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of a mini-batch, in float64, from `(m, mean, var)` of each of its shards.

    mean = sum m_i mean_i / M,   var = sum m_i (var_i + (mean_i - mean)²) / (M - 1),   M = sum m_i

    The divisor M - 1 gives the unbiased estimate, as inference needs it (Ioffe & Szegedy 2015, algorithm 2).
    """
    counts, means, variances = (np.array(values, np.float64) for values in zip(*shards, strict=True))
    total, counts = counts.sum(), counts[:, None]
    mean = (counts * means).sum(axis=0) / total
    return mean, (counts * (variances + (means - mean) ** 2)).sum(axis=0) / (total - 1)


def batchnorm_backward(
    grad_y: np.ndarray, cache: tuple[np.ndarray, np.ndarray, np.ndarray], scale: np.ndarray, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(grad_x, grad_scale, grad_shift)`, given the cache of the forward pass."""
    rows, mean, inverse_std = cache
    grad_x = new.grad_input(rows.shape, grad_y.dtype)
    grad_scale, grad_shift = np.empty((2, len(rows)), grad_y.dtype)
    grad_rows = grad_y.reshape(rows.shape)
    batchnorm_backward_kernel(grad_rows, rows, mean, inverse_std, scale, grad_x, grad_scale, grad_shift)
    return grad_x.reshape(grad_y.shape), grad_scale, grad_shift


def batchnorm_inference(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray, var: np.ndarray, new: Allocator = fresh
) -> np.ndarray:
    """Normalise by the running mean and variance, as `y = gain x + offset`."""
    gain = (scale / np.sqrt(var + EPSILON)).astype(x.dtype)
    offset = (shift - mean * gain).astype(x.dtype)
    column = (-1,) + (1,) * (x.ndim - 1)
    y = np.multiply(x, gain.reshape(column), out=new.output(x.shape, x.dtype))
    y += offset.reshape(column)
    return y
