"""Batch normalisation (Ioffe & Szegedy 2015, algorithm 1) over all axes but the first, so 1-d and 2-d are one code.

With m values in a feature,  mean = sum x / m,  var = sum (x - mean)² / m,
x_hat = (x - mean) / sqrt(var + eps),  y = scale x_hat + shift.
"""

import numpy as np

from npl0.ops.kernel import Allocator, fresh

EPSILON = 1e-5


def batchnorm_forward(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float = EPSILON, new: Allocator = fresh
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Normalise each feature by the statistics of this shard.

    Parameters
    ----------
    x : (features, ..., N), at least two values a feature; scale, shift : (features,).

    Returns
    -------
    y : the shape of x.
    cache : `(x_hat, inverse_std)`, shapes (features, m) and (features,).
    statistics : `(mean, var)`, each (features,), var divided by m - 1, for the running averages.

    Raises
    ------
    ValueError
        If a feature has a single value: its variance says nothing.
    """
    rows = x.reshape(x.shape[0], -1)
    m = rows.shape[1]
    if m < 2:
        raise ValueError("batch norm needs at least 2 values a feature in training; use larger batches")
    mean = rows.mean(axis=1)
    x_hat = np.subtract(rows, mean[:, None], out=new("x_hat", rows.shape, x.dtype))
    var = np.einsum("im,im->i", x_hat, x_hat) / m
    inverse_std = (1 / np.sqrt(var + epsilon)).astype(x.dtype)
    x_hat *= inverse_std[:, None]
    y = np.multiply(x_hat, scale[:, None], out=new("y", rows.shape, x.dtype))
    y += shift[:, None]
    return y.reshape(x.shape), (x_hat, inverse_std), (mean, var * (m / (m - 1)))


def batchnorm_backward(
    grad_y: np.ndarray,
    cache: tuple[np.ndarray, np.ndarray],
    scale: np.ndarray,
    new: Allocator = fresh,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differentiate `y = scale x_hat + shift`, the mean and the variance being functions of x.

    Returns
    -------
    grad_x : `scale inverse_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat))`; the means come from the statistics.
    grad_scale : `sum grad_y x_hat`; grad_shift : `sum grad_y`.
    """
    x_hat, inverse_std = cache
    rows = grad_y.reshape(x_hat.shape)
    m = rows.shape[1]
    grad_shift = rows.sum(axis=1)
    grad_scale = np.einsum("im,im->i", rows, x_hat)
    grad_x = np.multiply(x_hat, (-grad_scale / m)[:, None], out=new("grad_x", rows.shape, grad_y.dtype))
    grad_x += rows
    grad_x -= (grad_shift / m)[:, None]
    grad_x *= (scale * inverse_std)[:, None]
    return grad_x.reshape(grad_y.shape), grad_scale, grad_shift


def batchnorm_inference(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    epsilon: float = EPSILON,
) -> np.ndarray:
    """Normalise by the running statistics: one multiplication and one addition a value."""
    factor = (scale / np.sqrt(running_var + epsilon)).astype(x.dtype)
    offset = (shift - running_mean * factor).astype(x.dtype)
    column = (-1,) + (1,) * (x.ndim - 1)
    return x * factor.reshape(column) + offset.reshape(column)
