"""A weight behind its gate, `w = theta * z`, forward and backward: one pass over memory each.

Gradient-based pruning computes this for every weight at every step, so for float32 it has kernels. They hold an
exponential of their own, a polynomial that vectorises, which the compiler's `exp` does not. The formulas are those of
`npl0.ops.hard_concrete`, which computes them for float64 and for gates shared by several weights.
"""

import numba
import numpy as np

from npl0.ops import hard_concrete
from npl0.ops.hard_concrete import BETA, GAMMA, SMALLEST_U, ZETA
from npl0.runtime.kernels import FASTMATH, kernel

_F = np.float32
# The kernels take the gate's constants as arguments: a kernel in Numba's cache would not notice that one had changed in
# another file.
_FORWARD = tuple(_F(value) for value in (1 / BETA, GAMMA, ZETA, SMALLEST_U))
_BACKWARD = tuple(_F(value) for value in (BETA, GAMMA, ZETA, BETA * np.log(-GAMMA / ZETA)))


@numba.njit(inline="always", fastmath=FASTMATH)
def exp_float32(x):
    """Compute exp(x) in float32 to 3e-7: `exp(x) = 2^n exp(r)`, n = round(x / ln 2), |r| <= ln 2 / 2.

    exp(r) is its Taylor polynomial of degree 7 (remainder below 1e-8); 2^n is written into the exponent bits. x is held
    within ±87, where float32 ends.
    """
    x = min(max(x, _F(-87)), _F(87))
    n = np.floor(x * _F(1.4426950408889634) + _F(0.5))
    # ln 2 in two parts, the first exact in few bits, so that r keeps its digits.
    r = (x - n * _F(0.693359375)) - n * _F(-2.1219444005469057e-4)
    p = _F(1 / 5040)
    p = p * r + _F(1 / 720)
    p = p * r + _F(1 / 120)
    p = p * r + _F(1 / 24)
    p = p * r + _F(1 / 6)
    p = p * r + _F(1 / 2)
    p = p * r + _F(1)
    p = p * r + _F(1)
    bits = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
    return p * bits.view(np.float32)


@kernel
def gated_weight_kernel(theta, log_alpha, u, z, weight, inverse_beta, gamma, zeta, smallest_u):
    """Fill z and `weight = theta * z`; `hard_concrete.sample` in one pass."""
    one = _F(1)
    for i in range(theta.size):
        v = max(u[i], smallest_u)
        odds = (one - v) / v
        s = (zeta - gamma) / (one + odds * np.sqrt(odds) * exp_float32(-inverse_beta * log_alpha[i])) + gamma
        # In this order of arguments NaN passes through both.
        gate = min(max(s, _F(0)), one)
        z[i] = gate
        weight[i] = theta[i] * gate


@kernel
def gated_weight_backward_kernel(
    grad_w, theta, log_alpha, z, grad_theta, grad_log_alpha, lam, beta, gamma, zeta, offset
):
    """Fill both gradients, and return the sum of P(z > 0); `gated_weight_backward` in one pass."""
    one, zero = _F(1), _F(0)
    scale = one / ((zeta - gamma) * beta)
    total = _F(0)
    for i in range(theta.size):
        gate = z[i]
        p = one / (one + exp_float32(offset - log_alpha[i]))
        inside = _F((gate > zero) & (gate < one))
        slope = (gate - gamma) * (zeta - gate) * scale * inside
        grad_theta[i] = grad_w[i] * gate
        grad_log_alpha[i] = grad_w[i] * theta[i] * slope + lam * p * (one - p)
        total += p
    return total


def gated_weight(theta: np.ndarray, log_alpha: np.ndarray, u: np.ndarray, z: np.ndarray, weight: np.ndarray) -> None:
    """Draw the gates and compute `weight = theta * z`, in place.

    Parameters
    ----------
    theta, weight : one shape; log_alpha, u, z : that shape, or one that broadcasts against it.
    u : uniform noise in [0, 1]; z, weight : C-contiguous, overwritten.
    """
    if theta.dtype == np.float32 and z.shape == theta.shape:
        gated_weight_kernel(*(array.reshape(-1) for array in (theta, log_alpha, u, z, weight)), *_FORWARD)
    else:
        hard_concrete.sample(log_alpha, u, out=z)
        np.multiply(theta, z, out=weight)


def gated_weight_backward(
    grad_w: np.ndarray,
    theta: np.ndarray,
    log_alpha: np.ndarray,
    z: np.ndarray,
    lam: float,
    grad_theta: np.ndarray,
    grad_log_alpha: np.ndarray,
) -> float:
    """Differentiate `loss(theta * z) + lam * sum over weights of P(z > 0)`, in place.

    grad_theta = grad_w z;
    grad_log_alpha = sum over the gate's weights of (grad_w theta dz/dlog_alpha + lam p (1 - p)), p = P(z > 0).

    Parameters
    ----------
    grad_w, theta, grad_theta : one shape; log_alpha, z, grad_log_alpha : that shape, or one that broadcasts against it.
    lam : strength per weight.

    Returns
    -------
    expected : the sum of P(z > 0) over the weights.
    """
    if theta.dtype == np.float32 and z.shape == theta.shape:
        arrays = (grad_w, theta, log_alpha, z, grad_theta, grad_log_alpha)
        return float(gated_weight_backward_kernel(*(array.reshape(-1) for array in arrays), _F(lam), *_BACKWARD))
    np.multiply(grad_w, z, out=grad_theta)
    shared = tuple(axis for axis, size in enumerate(z.shape) if size != theta.shape[axis])
    grad_z = (grad_w * theta).sum(axis=shared, keepdims=True)
    weights_per_gate = theta.size // z.size
    p = hard_concrete.open_probability(log_alpha)
    grad_log_alpha[...] = hard_concrete.gate_backward(grad_z, z)
    grad_log_alpha += hard_concrete.open_probability_backward(lam * weights_per_gate, p)
    return weights_per_gate * float(p.sum(dtype=np.float64))
