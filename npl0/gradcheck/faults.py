"""Planted faults: wrong backwards of the kinds that are really written, each of which the checker must catch."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from npl0.gradcheck import model_problems as model
from npl0.gradcheck.checks import CHECKS
from npl0.gradcheck.problem import Draw, Fault, Problem
from npl0.nn.norm import BatchNorm
from npl0.ops import conv, hard_concrete, norm, pool
from npl0.ops.update import sgd_reference
from npl0.pruning import L0, FixedMask
from npl0.training.optimizers import SGD, Adam

FAULTS: list[Fault] = []
_BY_NAME = {check.name: check for check in CHECKS}


def _plant(name: str, check: str, wrong: Callable[..., Any]) -> None:
    """Let `wrong(right, grad_y, *arrays)` take the place of `right(grad_y, *arrays)`, the code under test."""

    def build(draw: Draw) -> Problem:
        problem = _BY_NAME[check].build(draw)
        return replace(problem, tested=partial(wrong, problem.tested))

    _plant_problem(name, check, build)


def _plant_problem(name: str, check: str, build: Callable[[Draw], Problem]) -> None:
    """Let `build` take the place of the check's own."""
    FAULTS.append(Fault(name, replace(_BY_NAME[check], build=build)))


def _change(index: int, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
    """Return a fault that edits the gradient of one array."""

    def wrong(right, grad_y, *arrays):
        gradients = list(right(grad_y, *arrays))
        gradients[index] = edit(np.array(gradients[index]))
        return gradients

    return wrong


def _zeros(right, grad_y, *arrays):
    return [np.zeros_like(array) for array in arrays]


def _transposed_weight(right, grad_y, x, w, b):
    return w @ grad_y, *right(grad_y, x, w, b)[1:]


def _bias_of_first_example(right, grad_y, x, w, b):
    return *right(grad_y, x, w, b)[:2], grad_y[:, 0]


def _bias_not_summed(right, grad_y, x, w, b):
    return *right(grad_y, x, w, b)[:2], grad_y


def _bias_averaged(right, grad_y, x, w, b):
    return *right(grad_y, x, w, b)[:2], grad_y.mean(axis=1)


def _stride_ignored(right, grad_y, x, w, b):
    # The windows are put back side by side, one pixel apart, in the corner of the image.
    out, _, kh, kw = w.shape
    height, width = grad_y.shape[1] + kh - 1, grad_y.shape[2] + kw - 1
    cols = w.reshape(out, -1).T @ grad_y.reshape(out, -1)
    grad_x = np.zeros_like(x)
    grad_x[:, :height, :width] = conv.col2im(cols, (x.shape[0], height, width, x.shape[3]), kh, kw)
    return grad_x, *right(grad_y, x, w, b)[1:]


def _last_tile_wins(right, grad_y, x, w, b):
    # The windows of tiles overlap by two rows; a later tile overwrites what an earlier one left there: `=` for `+=`.
    grad_x = np.zeros_like(x)
    for a in range(0, grad_y.shape[1], 4):
        alone = np.zeros_like(grad_y)
        alone[:, a : a + 4] = grad_y[:, a : a + 4]
        grad_x[:, a : a + 6] = right(alone, x, w, b)[0][:, a : a + 6]
    return grad_x, *right(grad_y, x, w, b)[1:]


def _last_block_lost(right, grad_y, x, w, b):
    grad_x, _, grad_b = right(grad_y, x, w, b)
    others = grad_y.copy()
    others[:, -4:] = 0
    return grad_x, right(others, x, w, b)[1], grad_b


def _last_window_wins(right, grad_y, x):
    # Where windows overlap, a later one overwrites what an earlier one left: `=` for `+=`.
    winner = pool.maxpool_forward(x, 3, 2)[1]
    grad_x = np.zeros_like(x)
    for a, b in np.ndindex(grad_y.shape[1:3]):
        i, j = np.divmod(winner[:, a, b], 3)
        c, n = np.indices(i.shape)
        grad_x[c, 2 * a + i, 2 * b + j, n] = grad_y[:, a, b]
    return [grad_x]


def _wrong_cell(right, grad_y, x):
    winner = (pool.maxpool_forward(x, 2, 2)[1] + 1) % 4
    return [pool.maxpool_backward(grad_y, winner, x.shape, 2, 2)]


def batchnorm_lacking(*terms: str) -> Callable[..., Any]:
    """Return the backward of batch norm without `mean` (of grad_y), `x_hat` (times its mean) or `scale`."""

    def wrong(right, grad_y, x, scale, shift):
        values, mean, inverse_std = norm.batchnorm_forward(x, scale, shift)[1]
        x_hat = (values - mean[:, None]) * inverse_std[:, None]
        rows = grad_y.reshape(x_hat.shape)
        inner = rows.copy()
        if "mean" not in terms:
            inner -= rows.mean(axis=1, keepdims=True)
        if "x_hat" not in terms:
            inner -= x_hat * (rows * x_hat).mean(axis=1, keepdims=True)
        factor = inverse_std if "scale" in terms else scale * inverse_std
        return (factor[:, None] * inner).reshape(x.shape), *right(grad_y, x, scale, shift)[1:]

    return wrong


def _label_not_subtracted(right, grad_y, logits):
    softmax = np.exp(logits) / np.exp(logits).sum(axis=0)
    return [grad_y * softmax / 10]


def _unbounded_gate(right, grad_z, log_alpha):
    # The slope of s, where z is held at 0 or 1 and has none; paper's rule, temperature 1.
    s = hard_concrete.sigmoid(log_alpha)
    return [grad_z * (hard_concrete.ZETA - hard_concrete.GAMMA) * s * (1 - s)]


def _median_by_temperature_1(right, grad_z, log_alpha):
    return [hard_concrete.gate_backward(grad_z, hard_concrete.deterministic_gate(log_alpha, "median"), 1.0)]


def _penalty_forgotten(right, grad_y, theta, log_alpha):
    return right(np.append(grad_y[:-1], 0.0), theta, log_alpha)


def _penalty_counts_gates(right, grad_y, theta, log_alpha):
    weights_per_gate = theta.size // log_alpha.size
    return right(np.append(grad_y[:-1], grad_y[-1] / weights_per_gate), theta, log_alpha)


def _theta_past_the_gate(right, grad_y, theta, log_alpha):
    return grad_y[:-1].reshape(theta.shape), right(grad_y, theta, log_alpha)[1]


def _gate_averaged(right, grad_y, theta, log_alpha):
    weights_per_gate = theta.size // log_alpha.size
    grad_theta, grad_log_alpha = right(grad_y, theta, log_alpha)
    penalty = right(np.append(np.zeros(theta.size), grad_y[-1]), theta, log_alpha)[1]
    return grad_theta, (grad_log_alpha - penalty) / weights_per_gate + penalty


class _MaskForgotten(FixedMask):
    def read_gradients(self) -> float:
        return 0.0


class _RampForgotten(L0):
    def read_gradients(self) -> float:
        penalty = super().read_gradients()
        self._ramp = 1.0
        super().read_gradients()
        return penalty


class _NoiseDrawnAnew(L0):
    def read_gradients(self) -> float:
        # The gates of the backward pass are not those of the forward pass.
        ramp = self._ramp
        self.write_weights(step=9)
        self._ramp = ramp
        return super().read_gradients()


class _StatisticsConstant(BatchNorm):
    def backward(self, grad_y, cache, context, need_grad_x=True):
        # As at inference, where mean and variance do not depend on x.
        _, grads = super().backward(grad_y, cache, context)
        *_, inverse_std = cache[0]
        factor = self.scale.value * inverse_std
        return factor.reshape(-1, *[1] * (grad_y.ndim - 1)) * grad_y, grads


class _DecayForgotten(SGD):
    def update(self, group, *args) -> None:
        super().update(replace(group, weight_decay=0.0), *args)


class _Plain(SGD):
    def update(self, group, rate, value, grad, velocity) -> None:
        sgd_reference(value, grad, velocity, rate, self.momentum, group.weight_decay, False)


class _CorrectionForgotten(Adam):
    def step(self, workers, factor=1.0, progress=0.0) -> None:
        # Far along in training the bias correction is 1.
        self.steps += 10_000
        super().step(workers, factor, progress)
        self.steps -= 10_000


def _forgetful_mask(draw: Draw) -> Problem:
    return model.pruner_problem(draw, lambda network, draw: model.fixed_mask(network, draw, _MaskForgotten))


_plant("every gradient zero", "linear", _zeros)
_plant("sign of grad_w flipped", "linear", _change(1, np.negative))
_plant("grad_w doubled", "linear", _change(1, lambda g: 2 * g))
_plant("grad_w of one output lost", "linear", _change(1, lambda g: g * (np.arange(len(g)) != 2)[:, None]))
_plant("W grad_y for Wᵀ grad_y", "linear", _transposed_weight)
_plant("bias gradient of the first example only", "linear", _bias_of_first_example)
_plant("bias gradient not summed", "linear", _bias_not_summed)
_plant("bias gradient averaged, not summed", "linear", _bias_averaged)
_plant("stride ignored on the way back", "conv2d 2x2 stride 2 pad 0", _stride_ignored)
_plant("padding not cut off", "conv2d 3x3 stride 1 pad 1", _change(0, lambda g: np.roll(g, 1, axis=1)))
_plant("kernel flipped", "conv2d 3x3 stride 1 pad 0", _change(1, lambda g: g[:, :, ::-1, ::-1]))
_plant("axes of the tile swapped", "winograd F(4,5) pad 0", _change(1, lambda g: g.swapaxes(2, 3)))
_plant("overlapping tiles overwrite", "winograd F(4,3) pad 0", _last_tile_wins)
_plant("grad_w of one block of tiles lost", "winograd F(4,3) in blocks", _last_block_lost)
_plant("maximum of another cell", "maxpool 2x2 stride 2", _wrong_cell)
_plant("overlapping windows overwrite", "maxpool 3x3 stride 2", _last_window_wins)
_plant("mean's 1 / size² left out", "avgpool 2x2 stride 2", _change(0, lambda g: 4 * g))
_plant("negative side let through", "relu", lambda right, grad_y, x: [grad_y])
_plant("1 / (1 - rate) left out", "dropout", _change(0, lambda g: 0.6 * g))
_plant("mean(grad_y) left out", "batchnorm 1-d", batchnorm_lacking("mean"))
_plant("x_hat mean(grad_y x_hat) left out", "batchnorm 2-d", batchnorm_lacking("x_hat"))
_plant("both means left out", "batchnorm 2-d", batchnorm_lacking("mean", "x_hat"))
_plant("scale left out", "batchnorm 1-d", batchnorm_lacking("scale"))
_plant("label not subtracted", "softmax cross-entropy", _label_not_subtracted)
_plant("divided by the shard, not the batch", "softmax cross-entropy", _change(0, lambda g: g * 10 / 6))
_plant("1 / beta left out", "hard-concrete sample", _change(0, lambda g: g * hard_concrete.BETA))
_plant("slope where the gate is held", "hard-concrete test gate, paper", _unbounded_gate)
_plant("median by the paper's temperature", "hard-concrete test gate, median", _median_by_temperature_1)
_plant("p for p (1 - p)", "hard-concrete P(z > 0)", lambda right, g, a: [g * hard_concrete.open_probability(a)])
_plant("penalty forgotten", "gated weight (4, 5), gates (4, 5)", _penalty_forgotten)
_plant("theta's gradient past the gate", "gated weight (4, 5), gates (4, 5)", _theta_past_the_gate)
_plant("shared gate: average for sum", "gated weight (4, 5), gates (4, 1)", _gate_averaged)
_plant("shared gate: penalty counts gates", "gated weight (3, 2, 2, 2), gates (3, 1, 1, 1)", _penalty_counts_gates)
_plant("1 / 255 left out", "Standardise", _change(0, lambda g: 255 * g))
_plant("last bias of the network left out", "small network", _change(-1, lambda g: 0 * g))
_plant("not a number", "lenet300", _change(0, lambda g: g * math.nan))
_plant_problem("mask not applied to the gradient", "fixed mask", _forgetful_mask)
_plant_problem(
    "ramp forgotten", "l0, one gate per filter", lambda draw: model.l0_problem(draw, "filter", _RampForgotten)
)
_plant_problem(
    "noise drawn anew for the way back",
    "l0 on the small vgg",
    lambda draw: model.l0_problem(draw, "weight", _NoiseDrawnAnew, model.small_vgg, 0.3),
)
_plant_problem(
    "statistics taken for constants",
    "small vgg",
    lambda draw: model.network_problem(draw, model.small_vgg(_StatisticsConstant), 4),
)
_plant_problem(
    "decay forgotten", "sgd, nesterov, decay", lambda draw: model.sgd_problem(draw, 0.9, 0.1, True, _DecayForgotten)
)
_plant_problem(
    "momentum for nesterov", "sgd, nesterov, decay", lambda draw: model.sgd_problem(draw, 0.9, 0.1, True, _Plain)
)
_plant_problem("bias correction forgotten", "adam", lambda draw: model.adam_problem(draw, 0.0, _CorrectionForgotten))
