"""Wrong backward passes of all the kinds that people write: the checker must reject each by a wide margin."""

import math
from functools import partial

import numpy as np
import pytest

from npl0.gradcheck import CHECKS, FAULTS
from npl0.gradcheck import model_problems as model
from npl0.gradcheck.faults import with_backward, with_gradient, with_problem
from npl0.gradcheck.problem import Draw
from npl0.nn.norm import BatchNorm
from npl0.ops import conv, hard_concrete, pool
from npl0.ops.update import sgd_reference
from npl0.pruning.base import Step
from npl0.pruning.l0 import L0
from npl0.training.optimizers import SGD

# What takes the place of a backward pass gets the right one, and what the right one gets: (grad_y, cache, *arrays).


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


def l0(gate_shape, kind, *network):
    return lambda draw: model.l0_problem(draw, gate_shape, kind, *network)


def sgd(kind):
    return lambda draw: model.sgd_problem(draw, 0.9, 0.1, True, kind)


MORE_FAULTS = {
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
    "ramp forgotten": with_problem("l0, one gate per filter", l0("filter", RampForgotten)),
    "noise drawn anew for the way back": with_problem(
        "l0 on the small vgg", l0("weight", NoiseDrawnAnew, model.small_vgg, 0.3)
    ),
    "statistics taken for constants": with_problem(
        "small vgg", lambda draw: model.network_problem(draw, partial(model.small_vgg, StatisticsConstant))
    ),
    "decay forgotten": with_problem("sgd, nesterov, decay", sgd(DecayForgotten)),
    "momentum for nesterov": with_problem("sgd, nesterov, decay", sgd(PlainMomentum)),
}


@pytest.mark.parametrize("name", [*FAULTS, *MORE_FAULTS])
def test_planted_fault_is_caught(name, workers):
    comparison = (FAULTS | MORE_FAULTS)[name].run(workers)
    # By a wide margin: no fault of a formula is near the tolerance.
    assert comparison.error > 1e-2 or math.isinf(comparison.error)


def test_names_of_faults_are_unique():
    assert not FAULTS.keys() & MORE_FAULTS.keys()


def test_an_upstream_gradient_of_ones_would_hide_a_fault_of_batch_norm(workers):
    # This is why the upstream gradient is random: with ones, right and wrong both give a gradient of 0.
    problem = next(check for check in CHECKS if check.name == "BatchNorm 1-d").build(
        Draw(np.random.default_rng(0), workers)
    )
    y, cache = problem.forward(*problem.arrays)
    right = problem.backward(np.ones_like(y), cache, *problem.arrays)[0]
    wrong = batchnorm_lacking("x_hat")(problem.backward, np.ones_like(y), cache, *problem.arrays)[0]
    assert np.abs(right).max() < 1e-12
    assert np.abs(wrong).max() < 1e-12
