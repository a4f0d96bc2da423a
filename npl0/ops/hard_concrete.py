"""The hard-concrete gate (Louizos, Welling & Kingma 2018, arXiv 1712.01312, section 2.2), forward and backward.

A gate z is a random number in [0, 1]. It is exactly 0, and exactly 1, with positive probability, and yet it has a
gradient with respect to its one trainable parameter, the location log_alpha:

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta)      binary concrete, in (0, 1)     (eq. 10)
    z = clip(s (zeta - gamma) + gamma, 0, 1)                  stretched, then clipped        (eq. 11)

- u is uniform noise in (0, 1).
- beta = 2/3 is the temperature: the lower it is, the closer s comes to 0 or 1.
- gamma = -0.1 and zeta = 1.1 are the stretch limits: s is stretched from (0, 1) to (-0.1, 1.1), so everything below 0
  becomes exactly 0 and everything above 1 becomes exactly 1.

A gate is open if z > 0. The expected L0 norm is the sum of

    P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))                                  (eq. 12)

At test time z is replaced by the test gate, one fixed value (eq. 13), which is 0 for log_alpha <= -2.398. Do not apply
weight decay to log_alpha: it would pull log_alpha to 0, where the test gate is 0.5.

All functions work elementwise on arrays of one shape and keep the dtype, float32 or float64.
"""

import math

import numpy as np
from scipy.special import expit as sigmoid

# `sample` and its kernel compute the power 1 / BETA = 3/2 as odds * sqrt(odds); another BETA needs another formula.
BETA = 2 / 3
GAMMA = -0.1
ZETA = 1.1

# Random float32 numbers are multiples of 2**-24, including 0; half of that spacing keeps (1 - u) / u finite.
SMALLEST_U = 2.0**-25

# The temperature of each test gate.
TEST_GATES = {"paper": 1.0, "median": BETA}


def sample(log_alpha: np.ndarray, u: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Draw gates z from given noise.

    With odds = (1 - u) / u, the exponential in the sigmoid cancels the logarithms of eq. 10, so none is needed:
    `s = 1 / (1 + (odds exp(-log_alpha))^(1 / beta)) = 1 / (1 + odds sqrt(odds) exp(-1.5 log_alpha))`.
    log_alpha must lie within ±40 in float32, u in [0, 1]; z is written to `out`, if that is given.
    """
    # Two arrays in turn hold every intermediate result; new arrays would take several times as long as the arithmetic.
    u = np.maximum(u, SMALLEST_U)
    odds = np.subtract(1, u, out=out)
    odds /= u
    power = np.sqrt(odds, out=u)
    power *= odds
    power *= np.exp(np.multiply(log_alpha, -1 / BETA, out=odds), out=odds)
    power += 1
    stretched = np.divide(ZETA - GAMMA, power, out=power)
    stretched += GAMMA
    return np.clip(stretched, 0, 1, out=odds)


def sample_reference(log_alpha: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Draw gates by equations 10 and 11 as printed: the oracle of `sample`."""
    u = np.maximum(u, SMALLEST_U)
    s = sigmoid((np.log(u) - np.log1p(-u) + log_alpha) / BETA)
    return np.clip(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def gate_backward(grad_z: np.ndarray, z: np.ndarray, temperature: float = BETA) -> np.ndarray:
    """Differentiate `z = clip(s (zeta - gamma) + gamma, 0, 1)`, `s = sigmoid((... + log_alpha) / temperature)`.

    dz/dlog_alpha = (zeta - gamma) s (1 - s) / temperature = (z - gamma) (zeta - z) / ((zeta - gamma) temperature)
    for 0 < z < 1, else 0: it depends on z alone, so neither s nor the noise has to be kept. The temperature is `BETA`
    for `sample` and `TEST_GATES[rule]` for `deterministic_gate`.
    """
    slope = (z - GAMMA) * (ZETA - z)
    slope *= 1 / ((ZETA - GAMMA) * temperature)
    slope *= grad_z
    slope *= (z > 0) & (z < 1)
    return slope


def deterministic_gate(log_alpha: np.ndarray, rule: str = "paper") -> np.ndarray:
    """Compute the test gate, `clip(sigmoid(log_alpha / temperature) (zeta - gamma) + gamma, 0, 1)`.

    `paper` has temperature 1 (eq. 13); the gate is 0 for log_alpha <= -2.398, where P(z > 0) is still up to 0.31.
    `median` has temperature beta and gives the median of z; it is 0 for log_alpha <= -1.599, where P(z > 0) <= 0.5.
    """
    s = sigmoid(log_alpha / log_alpha.dtype.type(TEST_GATES[rule]))
    return np.clip(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def open_probability(log_alpha: np.ndarray) -> np.ndarray:
    """Compute `P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))` (eq. 12)."""
    return sigmoid(log_alpha - log_alpha.dtype.type(BETA * math.log(-GAMMA / ZETA)))


def open_probability_backward(grad_p: np.ndarray | float, p: np.ndarray) -> np.ndarray:
    """Differentiate `p = sigmoid(log_alpha + constant)`: `grad_log_alpha = grad_p p (1 - p)`."""
    return grad_p * (p * (1 - p))
