"""Wrong backward passes of all the kinds that people write: the checker must reject each by a wide margin."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from npl0.gradcheck import CHECKS, problems
from npl0.gradcheck.checks import RAMPED_L0, WEAK_L0
from npl0.gradcheck.problems import Check, Draw
from npl0.nn.base import Layer
from npl0.nn.norm import BatchNorm
from npl0.ops import conv, hard_concrete, pool
from npl0.ops.update import sgd_reference
from npl0.pruning.base import Step
from npl0.pruning.fixed_mask import FixedMask
from npl0.pruning.l0 import L0
from npl0.training.optimizers import SGD, Adam

BY_NAME = {check.name: check for check in CHECKS}


def with_build(name, build, *case):
    """Return the check of this name with `build(draw, *case)` in place of its own problem."""
    return replace(BY_NAME[name], build=build, case=case)


def with_backward(name, wrong):
    """Return the check of this name with `wrong(right, grad_y, cache, *arrays)` in place of `right`, its backward."""

    right = BY_NAME[name]

    def build(draw):
        problem = right.build(draw, *right.case)
        return replace(problem, backward=partial(wrong, problem.backward))

    return with_build(name, build)


def with_gradient(name, index, edit):
    """Return the check of this name with one of its gradients edited."""

    def wrong(right, *arguments):
        return [edit(gradient) if i == index else gradient for i, gradient in enumerate(right(*arguments))]

    return with_backward(name, wrong)


# What takes the place of a backward pass gets the right one, and what the right one gets: (grad_y, cache, *arrays).


def transposed(right, grad_y, cache, x, w, b):
    return w @ grad_y, *right(grad_y, cache, x, w, b)[1:]


def constant_mean(right, grad_y, cache, x, scale, shift):
    grad_x, *others = right(grad_y, cache, x, scale, shift)
    inverse_std = cache[0][0][2]
    return grad_x + (scale * inverse_std * grad_y.mean(axis=1))[:, None], *others


def no_penalty(right, grad_y, *others):
    return right(np.append(grad_y[:-1], 0.0), *others)


def bias_of_first_example(right, grad_y, cache, x, w, b):
    return *right(grad_y, cache, x, w, b)[:2], grad_y[:, 0]


def bias_not_summed(right, grad_y, cache, x, w, b):
    return *right(grad_y, cache, x, w, b)[:2], grad_y


def bias_averaged(right, grad_y, cache, x, w, b):
    return *right(grad_y, cache, x, w, b)[:2], grad_y.mean(axis=1)


def stride_ignored(right, grad_y, cache, x, w, b):
    # The windows are put back one pixel apart, in the corner of the image.
    out, _, kh, kw = w.shape
    height, width = grad_y.shape[1] + kh - 1, grad_y.shape[2] + kw - 1
    cols = w.reshape(out, -1).T @ grad_y.reshape(out, -1)
    grad_x = np.zeros_like(x)
    grad_x[:, :height, :width] = conv.col2im_reference(cols, (x.shape[0], height, width, x.shape[3]), kh, kw)
    return grad_x, *right(grad_y, cache, x, w, b)[1:]


def last_tile_wins(right, grad_y, cache, x, w, b):
    # The windows of two tiles overlap by two rows, where the later one overwrites the earlier: `=` for `+=`.
    grad_x = np.zeros_like(x)
    for a in range(0, grad_y.shape[1], 4):
        alone = np.zeros_like(grad_y)
        alone[:, a : a + 4] = grad_y[:, a : a + 4]
        grad_x[:, a : a + 6] = right(alone, cache, x, w, b)[0][:, a : a + 6]
    return grad_x, *right(grad_y, cache, x, w, b)[1:]


def last_block_lost(right, grad_y, cache, x, w, b):
    grad_x, _, grad_b = right(grad_y, cache, x, w, b)
    others = grad_y.copy()
    others[:, -4:] = 0
    return grad_x, right(others, cache, x, w, b)[1], grad_b


def last_window_wins(right, grad_y, cache, x):
    # Where windows overlap, the later one overwrites the earlier: `=` for `+=`.
    winner = cache[0][0]
    grad_x = np.zeros_like(x)
    for a, b in np.ndindex(grad_y.shape[1:3]):
        i, j = np.divmod(winner[:, a, b], 3)
        c, n = np.indices(i.shape)
        grad_x[c, 2 * a + i, 2 * b + j, n] = grad_y[:, a, b]
    return [grad_x]


def other_cell(right, grad_y, cache, x):
    return [pool.maxpool_backward(grad_y, (cache[0][0] + 1) % 4, x.shape, 2, 2)]


def batchnorm_lacking(*terms):
    """Return the backward of batch norm without `mean` (of grad_y), `x_hat` (times its mean) or `scale`."""

    def wrong(right, grad_y, cache, x, scale, shift):
        values, mean, inverse_std = cache[0][0]
        x_hat = (values - mean[:, None]) * inverse_std[:, None]
        rows = grad_y.reshape(x_hat.shape)
        inner = rows.copy()
        if "mean" not in terms:
            inner -= rows.mean(axis=1, keepdims=True)
        if "x_hat" not in terms:
            inner -= x_hat * (rows * x_hat).mean(axis=1, keepdims=True)
        factor = inverse_std if "scale" in terms else scale * inverse_std
        return (factor[:, None] * inner).reshape(x.shape), *right(grad_y, cache, x, scale, shift)[1:]

    return wrong


def label_not_subtracted(right, grad_y, cache, logits):
    softmax = np.exp(logits) / np.exp(logits).sum(axis=0)
    return [grad_y * softmax / 10]


def unbounded_gate(right, grad_z, z, log_alpha):
    # The slope of s even where z is held at 0 or 1 and has none; the paper's rule, temperature 1.
    s = hard_concrete.sigmoid(log_alpha)
    return [grad_z * (hard_concrete.ZETA - hard_concrete.GAMMA) * s * (1 - s)]


def penalty_counts_gates(right, grad_y, z, theta, log_alpha):
    weights_per_gate = theta.size // log_alpha.size
    return right(np.append(grad_y[:-1], grad_y[-1] / weights_per_gate), z, theta, log_alpha)


def theta_past_the_gate(right, grad_y, z, theta, log_alpha):
    return grad_y[:-1].reshape(theta.shape), right(grad_y, z, theta, log_alpha)[1]


def gate_averaged(right, grad_y, z, theta, log_alpha):
    weights_per_gate = theta.size // log_alpha.size
    grad_theta, grad_log_alpha = right(grad_y, z, theta, log_alpha)
    penalty = right(np.append(np.zeros(theta.size), grad_y[-1]), z, theta, log_alpha)[1]
    return grad_theta, (grad_log_alpha - penalty) / weights_per_gate + penalty


class MaskForgotten(FixedMask):
    def read_gradients(self, step):
        return 0.0


class CorrectionForgotten(Adam):
    def update(self, value, grad, m, v, rate, weight_decay, t):
        # After many steps the correction is 1.
        super().update(value, grad, m, v, rate, weight_decay, t + 10_000)


class RampForgotten(L0):
    def read_gradients(self, step):
        penalty = super().read_gradients(step)
        super().read_gradients(Step(1000))
        return penalty


class NoiseDrawnAnew(L0):
    def read_gradients(self, step):
        # The gates of the backward pass are not those of the forward pass.
        self.write_weights(Step(9))
        return super().read_gradients(step)


class StatisticsConstant(BatchNorm):
    def backward(self, grad_y, cache, context, need_grad_x=True):
        # As at inference, where mean and variance do not depend on x.
        _, grads = super().backward(grad_y, cache, context)
        *_, inverse_std = cache[0]
        factor = self.scale.value * inverse_std
        return factor.reshape(-1, *[1] * (grad_y.ndim - 1)) * grad_y, grads


class DecayForgotten(SGD):
    def update(self, value, grad, velocity, rate, weight_decay, t):
        super().update(value, grad, velocity, rate, 0.0, t)


class PlainMomentum(SGD):
    def update(self, value, grad, velocity, rate, weight_decay, t):
        sgd_reference(value, grad, velocity, rate, self.momentum, weight_decay, False)


# By name: the check that must fail.
FAULTS = {
    "sign of grad_w flipped": with_gradient("Linear", 1, np.negative),
    "W grad_y for Wᵀ grad_y": with_backward("Linear", transposed),
    "padding not cut off": with_gradient("Conv2d 3x3 stride 1 padding 1", 0, lambda g: np.roll(g, 1, axis=1)),
    "kernel flipped": with_gradient("Conv2d 3x3 stride 1 padding 0", 1, lambda g: g[:, :, ::-1, ::-1]),
    "negative inputs let through": with_backward("ReLU", lambda right, grad_y, *_: [grad_y]),
    "batch mean taken as constant": with_backward("BatchNorm 1-d", constant_mean),
    "divided by the shard, not the batch": with_gradient("softmax cross-entropy", 0, lambda g: g * 10 / 6),
    "1 / beta left out": with_gradient("hard-concrete sample", 0, lambda g: g * hard_concrete.BETA),
    "penalty left out": with_backward("gated weight (4, 5), one gate per weight", no_penalty),
    "1 / 255 left out": with_gradient("Standardise", 0, lambda g: 255 * g),
    "not a number": with_gradient("lenet300", 0, lambda g: g * np.nan),
    "every gradient zero": with_backward(
        "Linear", lambda right, grad_y, cache, *arrays: [0 * array for array in arrays]
    ),
    "grad_w doubled": with_gradient("Linear", 1, lambda g: 2 * g),
    "grad_w of one output lost": with_gradient("Linear", 1, lambda g: g * (np.arange(len(g)) != 2)[:, None]),
    "bias gradient of the first example only": with_backward("Linear", bias_of_first_example),
    "bias gradient not summed": with_backward("Linear", bias_not_summed),
    "bias gradient averaged, not summed": with_backward("Linear", bias_averaged),
    "stride ignored on the way back": with_backward("Conv2d 2x2 stride 2 padding 0", stride_ignored),
    "axes of the tile swapped": with_gradient("Conv2d F(4,5) padding 0", 1, lambda g: g.swapaxes(2, 3)),
    "overlapping tiles overwrite": with_backward("Conv2d F(4,3) padding 0", last_tile_wins),
    "grad_w of one block of tiles lost": with_backward("Conv2d F(4,3) in blocks", last_block_lost),
    "gradient to the wrong cell": with_backward("MaxPool2d 2x2 stride 2", other_cell),
    "overlapping windows overwrite": with_backward("MaxPool2d 3x3 stride 2", last_window_wins),
    "mean's 1 / size² left out": with_gradient("AvgPool2d 2x2 stride 2", 0, lambda g: 4 * g),
    "1 / (1 - rate) left out": with_gradient("Dropout", 0, lambda g: 0.6 * g),
    "x_hat mean(grad_y x_hat) left out": with_backward("BatchNorm 2-d", batchnorm_lacking("x_hat")),
    "both means left out": with_backward("BatchNorm 2-d", batchnorm_lacking("mean", "x_hat")),
    "scale left out": with_backward("BatchNorm 1-d", batchnorm_lacking("scale")),
    "label not subtracted": with_backward("softmax cross-entropy", label_not_subtracted),
    "slope where the gate is held": with_backward("hard-concrete test gate, paper", unbounded_gate),
    "median by the paper's temperature": with_gradient(
        "hard-concrete test gate, median", 0, lambda g: g * hard_concrete.BETA
    ),
    "p for p (1 - p)": with_backward("hard-concrete P(z > 0)", lambda right, grad_p, p, _: [grad_p * p]),
    "theta's gradient past the gate": with_backward("gated weight (4, 5), one gate per weight", theta_past_the_gate),
    "shared gate: average for sum": with_backward("gated weight (4, 5), one gate per filter", gate_averaged),
    "shared gate: penalty counts gates": with_backward(
        "gated weight (3, 2, 2, 2), one gate per filter", penalty_counts_gates
    ),
    "last bias of the network left out": with_backward(
        "small network", lambda right, *arguments: [*right(*arguments)[:-1], np.zeros(4)]
    ),
    "mask not applied to the gradient": with_build(
        "fixed mask", problems.network_problem, problems.perceptron, partial(problems.half_masked, kind=MaskForgotten)
    ),
    "ramp forgotten": with_build(
        "l0, one gate per filter",
        problems.network_problem,
        problems.perceptron,
        partial(RampForgotten, **RAMPED_L0.keywords, gate_shape="filter"),
    ),
    "noise drawn anew for the way back": with_build(
        "l0 on the small vgg",
        problems.network_problem,
        problems.small_vgg,
        partial(NoiseDrawnAnew, **WEAK_L0.keywords),
    ),
    "statistics taken for constants": with_build(
        "small vgg", problems.network_problem, partial(problems.small_vgg, StatisticsConstant)
    ),
    "decay forgotten": with_build("sgd, nesterov, decay", problems.update_problem, DecayForgotten(0.9, True), 0.1),
    "momentum for nesterov": with_build("sgd, nesterov, decay", problems.update_problem, PlainMomentum(0.9, True), 0.1),
    "bias correction left out": with_build("adam", problems.update_problem, CorrectionForgotten(0.8, 0.99)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_caught(name, workers):
    comparison = FAULTS[name].run(workers)
    # By a wide margin: no fault of a formula is near the tolerance.
    assert comparison.error > 1e-2 or math.isinf(comparison.error)


def test_an_upstream_gradient_of_ones_would_hide_a_fault_of_batch_norm(workers):
    # This is why the upstream gradient is random: with ones, right and wrong both give a gradient of 0.
    check = BY_NAME["BatchNorm 1-d"]
    problem = check.build(Draw(np.random.default_rng(0), workers), *check.case)
    y, cache = problem.forward(*problem.arrays)
    right = problem.backward(np.ones_like(y), cache, *problem.arrays)[0]
    wrong = batchnorm_lacking("x_hat")(problem.backward, np.ones_like(y), cache, *problem.arrays)[0]
    assert np.abs(right).max() < 1e-12
    assert np.abs(wrong).max() < 1e-12


class TanhOfItsOutput(Layer):
    """Reads y in the backward pass, although the next layer may have overwritten it."""

    def forward(self, x, context):
        y = np.tanh(x, out=context.new.output(x.shape, x.dtype))
        return y, y

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return grad_y * (1 - cache**2), ()


class OutputTakenTwice(Layer):
    """Keeps the slope of a leaky ReLU in memory that y takes again."""

    def forward(self, x, context):
        slope = context.new.output(x.shape, x.dtype)
        slope[...] = np.where(x > 0, 1, 0.2)
        context.new.grad_input(x.shape, x.dtype)
        return np.multiply(x, slope, out=context.new.output(x.shape, x.dtype)), slope

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return grad_y * cache, ()


@pytest.mark.parametrize("kind", [TanhOfItsOutput, OutputTakenTwice])
def test_a_layer_that_reads_memory_of_others_is_caught(kind, workers):
    assert not Check("wrong", "layer", problems.layer_problem, (kind, (4, 3))).run(workers).passes()
