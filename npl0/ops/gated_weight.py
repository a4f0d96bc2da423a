"""A weight multiplied by its gate, `weight = theta * z`, and its backward pass.

Both run for every weight at every training step, so float32 weights with a gate each have kernels that pass over memory
once. The kernels evaluate exp as a polynomial, which vectorises; the compiler's exp does not. The formulas are those of
`npl0.ops.hard_concrete`, which computes float64 weights and gates that several weights share.

Shapes: theta and weight have one shape; log_alpha, u and z have that shape too, or one that broadcasts against it.
Arrays are C-contiguous.
"""

import math

import numpy as np

from npl0.ops import hard_concrete
from npl0.ops.hard_concrete import BETA, GAMMA, SMALLEST_U, ZETA
from npl0.runtime.kernels import inlined, kernel

_F = np.float32
# The constants of the gate are arguments of the kernels, because Numba's cache does not notice when a constant of
# another file changes.
_FORWARD = tuple(_F(value) for value in (1 / BETA, GAMMA, ZETA, SMALLEST_U))
_TAYLOR = tuple(_F(1 / math.factorial(k)) for k in range(7, -1, -1))
_BACKWARD = tuple(_F(value) for value in (BETA, GAMMA, ZETA, BETA * np.log(-GAMMA / ZETA)))


@inlined
def exp_float32(x):
    """Compute exp(x) in float32 to a relative error of 3e-7.

    exp(x) = 2^n exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2. exp(r) is its Taylor polynomial of degree 7
    (remainder below 1e-8), and 2^n is written into the exponent bits. x is clipped to ±87, the range of float32.
    """
    x = min(max(x, _F(-87)), _F(87))
    n = np.floor(x * _F(1.4426950408889634) + _F(0.5))
    # ln 2 is split in two, the first part with few bits, so that n times it is exact and r keeps its digits.
    r = (x - n * _F(0.693359375)) - n * _F(-2.1219444005469057e-4)
    exp_r = _TAYLOR[0]
    for coefficient in _TAYLOR[1:]:
        exp_r = exp_r * r + coefficient
    bits = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
    return exp_r * bits.view(np.float32)


@kernel
def gated_weight_kernel(theta, log_alpha, u, z, weight, inverse_beta, gamma, zeta, smallest_u):
    """Compute `hard_concrete.sample` and `weight = theta * z` of flat arrays in one pass."""
    one = _F(1)
    for i in range(theta.size):
        noise = max(u[i], smallest_u)
        odds = (one - noise) / noise
        stretched = (zeta - gamma) / (one + odds * np.sqrt(odds) * exp_float32(-inverse_beta * log_alpha[i])) + gamma
        # min and max return their first argument if it is NaN.
        gate = min(max(stretched, _F(0)), one)
        z[i] = gate
        weight[i] = theta[i] * gate


@kernel
def gated_weight_backward_kernel(
    grad_w, theta, log_alpha, z, grad_theta, grad_log_alpha, penalty_per_weight, beta, gamma, zeta, offset
):
    """Compute `gated_weight_backward` of flat arrays in one pass; `P(z > 0) = sigmoid(log_alpha - offset)`."""
    one, zero = _F(1), _F(0)
    inverse_width = one / ((zeta - gamma) * beta)
    expected = _F(0)
    for i in range(theta.size):
        gate = z[i]
        p = one / (one + exp_float32(offset - log_alpha[i]))
        inside = _F((gate > zero) & (gate < one))
        slope = (gate - gamma) * (zeta - gate) * inverse_width * inside
        grad_theta[i] = grad_w[i] * gate
        grad_log_alpha[i] = grad_w[i] * theta[i] * slope + penalty_per_weight * p * (one - p)
        expected += p
    return expected


def gated_weight(theta: np.ndarray, log_alpha: np.ndarray, u: np.ndarray, z: np.ndarray, weight: np.ndarray) -> None:
    """Draw the gates z from the uniform noise u in [0, 1], compute `weight = theta * z`, and overwrite z and weight."""
    if theta.dtype == np.float32 and z.shape == theta.shape:
        gated_weight_kernel(*(array.reshape(-1) for array in (theta, log_alpha, u, z, weight)), *_FORWARD)
    else:
        hard_concrete.sample(log_alpha, u, out=z)
        np.multiply(theta, z, out=weight)


def gated_weight_backward(grad_w, theta, log_alpha, z, penalty_per_weight, grad_theta, grad_log_alpha) -> float:
    """Differentiate `loss(theta * z) + penalty_per_weight * sum over weights of P(z > 0)`; return the sum.

    With p = P(z > 0), the outputs, which overwrite the last two arrays, are

    grad_theta = grad_w z
    grad_log_alpha = sum over the weights of the gate of (grad_w theta dz/dlog_alpha + penalty_per_weight p (1 - p))
    """
    if theta.dtype == np.float32 and z.shape == theta.shape:
        flat = (array.reshape(-1) for array in (grad_w, theta, log_alpha, z, grad_theta, grad_log_alpha))
        return float(gated_weight_backward_kernel(*flat, _F(penalty_per_weight), *_BACKWARD))
    np.multiply(grad_w, z, out=grad_theta)
    broadcast_axes = tuple(axis for axis, size in enumerate(z.shape) if size != theta.shape[axis])
    grad_z = (grad_w * theta).sum(axis=broadcast_axes, keepdims=True)
    weights_per_gate = theta.size // z.size
    p = hard_concrete.open_probability(log_alpha)
    grad_log_alpha[...] = hard_concrete.gate_backward(grad_z, z)
    grad_log_alpha += hard_concrete.open_probability_backward(penalty_per_weight * weights_per_gate, p)
    return weights_per_gate * float(p.sum(dtype=np.float64))
