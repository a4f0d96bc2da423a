"""The problems of the operations in `npl0.ops`."""

import math

import numpy as np

from npl0.gradcheck.problem import Draw, GradientProblem, Problem
from npl0.ops import activation, conv, hard_concrete, linear, norm, pool, winograd, winograd3x3
from npl0.ops.gated_weight import gated_weight, gated_weight_backward
from npl0.ops.loss import softmax_cross_entropy

# An operation that is linear in each array has exact differences at any step; a long one loses fewer digits.
LONG_STEP = 1e-2


def linear_problem(draw: Draw) -> Problem:
    """`y = W x + b`; the weight is square so that a transposed one would fit."""
    return GradientProblem(
        linear.linear_forward,
        lambda grad_y, x, w, b: (*linear.linear_backward(grad_y, x, w), linear.bias_backward(grad_y)),
        [draw.normal(5, 3), draw.normal(5, 5), draw.normal(5)],
        step=LONG_STEP,
    )


def conv_problem(draw: Draw, kernel_size: int, stride: int, padding: int) -> Problem:
    """Convolution by im2col, two channels to three, on sides that the windows do not all fill."""

    def gradients(grad_y, x, w, b):
        cols = conv.conv2d_forward(x, w, b, stride, padding)[1]
        grads = conv.conv2d_backward(grad_y, cols, w, x.shape, stride, padding)
        return *grads, linear.bias_backward(grad_y)

    arrays = [draw.normal(2, 7, 6, 2), draw.normal(3, 2, kernel_size, kernel_size), draw.normal(3)]
    return GradientProblem(
        lambda x, w, b: conv.conv2d_forward(x, w, b, stride, padding)[0], gradients, arrays, step=LONG_STEP
    )


def winograd_problem(
    draw: Draw, m: int, r: int, padding: int, tiles: tuple[int, int] = (2, 1), examples: int = 2
) -> Problem:
    """Convolution by F(m, r), outputs of two by one tiles or of so many."""
    ops = winograd3x3 if r == 3 else winograd

    def forward(x, w, b):
        return ops.conv2d_forward(x, winograd.transform_weight(w, m), b, m, padding)

    def gradients(grad_y, x, w, b):
        u = winograd.transform_weight(w, m)
        grads = ops.conv2d_backward(grad_y, forward(x, w, b)[1], u, m, x.shape, padding)
        return *grads, linear.bias_backward(grad_y)

    sides = (m * count + r - 1 - 2 * padding for count in tiles)
    arrays = [draw.normal(2, *sides, examples), draw.normal(3, 2, r, r), draw.normal(3)]
    return GradientProblem(lambda *arrays: forward(*arrays)[0], gradients, arrays, step=LONG_STEP)


def maxpool_problem(draw: Draw, size: int, stride: int) -> Problem:
    """Max-pooling of numbers without ties, on sides that the windows do not all fill."""

    def gradients(grad_y, x):
        return [pool.maxpool_backward(grad_y, pool.maxpool_forward(x, size, stride)[1], x.shape, size, stride)]

    return GradientProblem(
        lambda x: pool.maxpool_forward(x, size, stride)[0], gradients, [draw.distinct(2, 7, 6, 3)], step=1e-3
    )


def avgpool_problem(draw: Draw, size: int, stride: int) -> Problem:
    """Average-pooling."""
    return GradientProblem(
        lambda x: pool.avgpool_forward(x, size, stride),
        lambda grad_y, x: [pool.avgpool_backward(grad_y, x.shape, size, stride)],
        [draw.normal(2, 7, 6, 3)],
        step=LONG_STEP,
    )


def relu_problem(draw: Draw) -> Problem:
    """ReLU, away from its kink."""
    return GradientProblem(
        activation.relu_forward,
        lambda grad_y, x: [activation.relu_backward(grad_y, activation.relu_forward(x))],
        [draw.off_zero(4, 6)],
    )


def dropout_problem(draw: Draw) -> Problem:
    """Dropout under fixed noise."""
    u, rate = draw.generator.random((4, 6)), 0.4
    return GradientProblem(
        lambda x: activation.dropout_forward(x, u, rate)[0],
        lambda grad_y, x: [activation.dropout_backward(grad_y, activation.dropout_forward(x, u, rate)[1])],
        [draw.normal(4, 6)],
    )


def batchnorm_problem(draw: Draw, *shape: int) -> Problem:
    """Batch normalisation by the statistics of the batch."""

    def gradients(grad_y, x, scale, shift):
        return norm.batchnorm_backward(grad_y, norm.batchnorm_forward(x, scale, shift)[1], scale)

    arrays = [draw.normal(*shape) * 2 + 1, draw.off_zero(shape[0]), draw.normal(shape[0])]
    return GradientProblem(lambda *arrays: norm.batchnorm_forward(*arrays)[0], gradients, arrays)


def loss_problem(draw: Draw) -> Problem:
    """Softmax cross-entropy of a shard of 6 in a mini-batch of 10."""
    labels = draw.generator.integers(0, 4, 6)
    return GradientProblem(
        lambda logits: softmax_cross_entropy(logits, labels, 10)[0],
        lambda grad_y, logits: [grad_y * softmax_cross_entropy(logits, labels, 10)[2]],
        [draw.normal(4, 6) * 2],
    )


def sample_problem(draw: Draw) -> Problem:
    """Random gates, closed, open and between, under fixed noise."""
    u = draw.uniform(60)
    return GradientProblem(
        lambda log_alpha: hard_concrete.sample(log_alpha, u),
        lambda grad_z, log_alpha: [hard_concrete.gate_backward(grad_z, hard_concrete.sample(log_alpha, u))],
        [draw.normal(60)],
    )


def deterministic_problem(draw: Draw, rule: str) -> Problem:
    """Test-time gates, closed, open and between."""
    temperature = hard_concrete.TEST_GATES[rule]

    def gradients(grad_z, log_alpha):
        return [hard_concrete.gate_backward(grad_z, hard_concrete.deterministic_gate(log_alpha, rule), temperature)]

    return GradientProblem(
        lambda log_alpha: hard_concrete.deterministic_gate(log_alpha, rule), gradients, [draw.normal(40) * 2]
    )


def open_problem(draw: Draw) -> Problem:
    """P(z > 0)."""

    def gradients(grad_p, log_alpha):
        return [hard_concrete.open_probability_backward(grad_p, hard_concrete.open_probability(log_alpha))]

    return GradientProblem(hard_concrete.open_probability, gradients, [draw.normal(30) * 2])


def gated_weight_problem(draw: Draw, shape: tuple[int, ...], gate_shape: tuple[int, ...]) -> Problem:
    """`theta * z` and, as one more output, the expected number of weights, whose upstream gradient is lambda."""
    u = draw.uniform(*gate_shape)
    weights_per_gate = math.prod(shape) // math.prod(gate_shape)

    def gates_and_weight(theta, log_alpha):
        z, weight = np.empty_like(log_alpha), np.empty_like(theta)
        gated_weight(theta, log_alpha, u, z, weight)
        return z, weight

    def function(theta, log_alpha):
        expected = weights_per_gate * hard_concrete.open_probability(log_alpha).sum()
        return np.append(gates_and_weight(theta, log_alpha)[1], expected)

    def gradients(grad_y, theta, log_alpha):
        z, _ = gates_and_weight(theta, log_alpha)
        grads = np.empty_like(theta), np.empty_like(log_alpha)
        gated_weight_backward(grad_y[:-1].reshape(shape), theta, log_alpha, z, float(grad_y[-1]), *grads)
        return grads

    return GradientProblem(function, gradients, [draw.normal(*shape), draw.normal(*gate_shape) * 0.7])
