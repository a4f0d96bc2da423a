"""Problems for the operations that are not part of a layer: the loss and the gates."""

import math
from collections.abc import Callable

import numpy as np

from npl0.gradcheck.problem import Draw, GradientProblem
from npl0.ops import hard_concrete
from npl0.ops.gated_weight import gated_weight, gated_weight_backward
from npl0.ops.loss import softmax_cross_entropy
from npl0.pruning.l0 import gate_shape


def loss_problem(draw: Draw) -> GradientProblem:
    """Softmax cross-entropy of 6 examples from a mini-batch of 10."""
    labels = draw.generator.integers(0, 4, 6)
    return GradientProblem(
        lambda logits: softmax_cross_entropy(logits, labels, 10)[::2],
        lambda grad_y, grad_logits, _: [grad_y * grad_logits],
        [draw.normal(4, 6) * 2],
    )


def _by_output(function: Callable, backward: Callable, x: np.ndarray) -> GradientProblem:
    """Pose an elementwise function whose `backward(grad_y, y)` needs only its output."""

    def forward(x):
        y = function(x)
        return y, y

    return GradientProblem(forward, lambda grad_y, y, x: [backward(grad_y, y)], [x])


def sample_problem(draw: Draw) -> GradientProblem:
    """Random gates with fixed noise: closed, open and in between."""
    u = draw.generator.uniform(0.05, 0.95, 60)
    return _by_output(
        lambda log_alpha: hard_concrete.sample(log_alpha, u), hard_concrete.gate_backward, draw.normal(60)
    )


def deterministic_problem(draw: Draw, rule: str) -> GradientProblem:
    """Test-time gates: closed, open and in between."""
    return _by_output(
        lambda log_alpha: hard_concrete.deterministic_gate(log_alpha, rule),
        lambda grad_z, z: hard_concrete.gate_backward(grad_z, z, hard_concrete.TEST_GATES[rule]),
        draw.normal(40) * 2,
    )


def open_problem(draw: Draw) -> GradientProblem:
    """P(z > 0)."""
    return _by_output(hard_concrete.open_probability, hard_concrete.open_probability_backward, draw.normal(30) * 2)


def gated_weight_problem(draw: Draw, shape: tuple[int, ...], kind: str) -> GradientProblem:
    """`theta * z`, and as the last output the expected number of open weights, whose upstream gradient is lambda."""
    gates = gate_shape(shape, kind)
    u = draw.generator.uniform(0.05, 0.95, gates)
    weights_per_gate = math.prod(shape) // math.prod(gates)

    def forward(theta, log_alpha):
        z, weight = np.empty_like(log_alpha), np.empty_like(theta)
        gated_weight(theta, log_alpha, u, z, weight)
        return np.append(weight, weights_per_gate * hard_concrete.open_probability(log_alpha).sum()), z

    def backward(grad_y, z, theta, log_alpha):
        grads = np.empty_like(theta), np.empty_like(log_alpha)
        gated_weight_backward(grad_y[:-1].reshape(shape), theta, log_alpha, z, float(grad_y[-1]), *grads)
        return grads

    return GradientProblem(forward, backward, [draw.normal(*shape), draw.normal(*gates) * 0.7])
