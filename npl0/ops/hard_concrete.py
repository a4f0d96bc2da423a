"""The hard-concrete gate (Louizos, Welling & Kingma 2018, arXiv 1712.01312, section 2.2), forward and backward.

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta)          a binary concrete variable            (eq. 10)
    z = clip(s (zeta - gamma) + gamma, 0, 1)                      stretched, then rectified             (eq. 11)
    P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))                                             (eq. 12)

All functions are elementwise on arrays of one shape and keep float32 and float64.
"""

import math

import numpy as np
from scipy.special import expit as sigmoid

# `sample` and its kernel write the power 1 / BETA = 3/2 as r sqrt(r): another BETA needs another formula there.
BETA = 2 / 3
GAMMA = -0.1
ZETA = 1.1

# float32 draws are multiples of 2**-24, zero among them; half a step keeps (1 - u) / u finite.
SMALLEST_U = 2.0**-25

# Test-time gates: the paper's leaves the temperature out (eq. 13), the median of z keeps it.
TEST_GATES = {"paper": 1.0, "median": BETA}


def sample(log_alpha: np.ndarray, u: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Draw gates by the noise given.

    With the odds r = (1 - u) / u and beta = 2/3,  s = 1 / (1 + (r exp(-log_alpha))^(1/beta))
    = 1 / (1 + r sqrt(r) exp(-1.5 log_alpha)): no logarithm, one exponential.

    Parameters
    ----------
    log_alpha : gate locations, within ±40 in float32; u : uniform noise in [0, 1]; out : where to put z.

    Returns
    -------
    z : in [0, 1], exactly 0 and exactly 1 with positive probability.
    """
    z = np.maximum(u, u.dtype.type(SMALLEST_U), out=out)
    scratch = np.subtract(1, z)
    z = np.divide(scratch, z, out=z)
    np.sqrt(z, out=scratch)
    z *= scratch
    np.multiply(log_alpha, -1 / BETA, out=scratch)
    np.exp(scratch, out=scratch)
    z *= scratch
    z += 1
    np.divide(ZETA - GAMMA, z, out=z)
    z += GAMMA
    return np.clip(z, 0, 1, out=z)


def sample_reference(log_alpha: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Draw gates by equations 10 and 11 as they are printed: the oracle of `sample`."""
    u = np.maximum(u, SMALLEST_U)
    s = sigmoid((np.log(u) - np.log1p(-u) + log_alpha) / BETA)
    return np.clip(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def gate_backward(grad_z: np.ndarray, z: np.ndarray, temperature: float = BETA) -> np.ndarray:
    """Differentiate a gate `z = clip(s (zeta - gamma) + gamma, 0, 1)`, `s = sigmoid((... + log_alpha) / temperature)`.

    dz/dlog_alpha = (zeta - gamma) s (1 - s) / temperature = (z - gamma) (zeta - z) / ((zeta - gamma) temperature)
    for 0 < z < 1, else 0: the gate's value says it all, and neither s nor the noise is needed.

    Parameters
    ----------
    grad_z : gradient of the loss by z; z : the gates of the forward; temperature : `BETA` for `sample`, and
        `TEST_GATES[rule]` for `deterministic_gate`.
    """
    slope = (z - GAMMA) * (ZETA - z)
    slope *= 1 / ((ZETA - GAMMA) * temperature)
    slope *= grad_z
    slope *= (z > 0) & (z < 1)
    return slope


def deterministic_gate(log_alpha: np.ndarray, rule: str = "paper") -> np.ndarray:
    """Compute the gate that stands in for the random one at test time.

    `paper`: `clip(sigmoid(log_alpha) (zeta - gamma) + gamma, 0, 1)` (eq. 13), exactly 0 for log_alpha <= -2.398.
    `median`: the same with `log_alpha / beta`, the median of z, exactly 0 for log_alpha <= -1.599, P(z > 0) <= 0.5.

    Raises
    ------
    ValueError
        If the rule is neither.
    """
    if rule not in TEST_GATES:
        raise ValueError(f"test gate {rule!r} is unknown: use one of {', '.join(TEST_GATES)}")
    s = sigmoid(log_alpha / log_alpha.dtype.type(TEST_GATES[rule]))
    return np.clip(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def open_probability(log_alpha: np.ndarray) -> np.ndarray:
    """Compute `P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))`; its sum is the expected L0 norm (eq. 12)."""
    return sigmoid(log_alpha - log_alpha.dtype.type(BETA * math.log(-GAMMA / ZETA)))


def open_probability_backward(grad_p: np.ndarray | float, p: np.ndarray) -> np.ndarray:
    """Differentiate `p = sigmoid(log_alpha + constant)`: `grad_log_alpha = grad_p p (1 - p)`."""
    return grad_p * (p * (1 - p))
