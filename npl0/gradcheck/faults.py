"""Planted faults: wrong backward passes of the kinds that people write, which the checker must reject."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from npl0.gradcheck import model_problems as model
from npl0.gradcheck.checks import CHECKS
from npl0.gradcheck.problem import Check
from npl0.ops.hard_concrete import BETA
from npl0.pruning.fixed_mask import FixedMask
from npl0.training.optimizers import Adam

_BY_NAME = {check.name: check for check in CHECKS}


def with_problem(name: str, build: Callable) -> Check:
    """Return the check of this name with `build(draw)` in place of its own problem."""
    return replace(_BY_NAME[name], build=build)


def with_backward(name: str, wrong: Callable) -> Check:
    """Return the check of this name with `wrong(right, grad_y, cache, *arrays)` in place of `right`, its backward."""

    def build(draw):
        problem = _BY_NAME[name].build(draw)
        return replace(problem, backward=partial(wrong, problem.backward))

    return with_problem(name, build)


def with_gradient(name: str, index: int, edit: Callable[[np.ndarray], np.ndarray]) -> Check:
    """Return the check of this name with one of its gradients edited."""

    def wrong(right, *arguments):
        return [edit(gradient) if i == index else gradient for i, gradient in enumerate(right(*arguments))]

    return with_backward(name, wrong)


def _transposed(right, grad_y, cache, x, w, b):
    return w @ grad_y, *right(grad_y, cache, x, w, b)[1:]


def _constant_mean(right, grad_y, cache, x, scale, shift):
    grad_x, *others = right(grad_y, cache, x, scale, shift)
    inverse_std = cache[0][0][2]
    return grad_x + (scale * inverse_std * grad_y.mean(axis=1))[:, None], *others


def _no_penalty(right, grad_y, *others):
    return right(np.append(grad_y[:-1], 0.0), *others)


class _MaskForgotten(FixedMask):
    def read_gradients(self, step) -> float:
        return 0.0


class _CorrectionForgotten(Adam):
    def update(self, value, grad, m, v, rate, weight_decay, t) -> None:
        # After many steps the correction is 1.
        super().update(value, grad, m, v, rate, weight_decay, t + 10_000)


# By name: the check that must fail.
FAULTS: dict[str, Check] = {
    "sign of grad_w flipped": with_gradient("Linear", 1, np.negative),
    "W grad_y for Wᵀ grad_y": with_backward("Linear", _transposed),
    "padding not cut off": with_gradient("Conv2d 3x3 stride 1 padding 1", 0, lambda g: np.roll(g, 1, axis=1)),
    "kernel flipped": with_gradient("Conv2d 3x3 stride 1 padding 0", 1, lambda g: g[:, :, ::-1, ::-1]),
    "negative inputs let through": with_backward("ReLU", lambda right, grad_y, *_: [grad_y]),
    "batch mean taken as constant": with_backward("BatchNorm 1-d", _constant_mean),
    "divided by the shard, not the batch": with_gradient("softmax cross-entropy", 0, lambda g: g * 10 / 6),
    "1 / beta left out": with_gradient("hard-concrete sample", 0, lambda g: g * BETA),
    "penalty left out": with_backward("gated weight (4, 5), one gate per weight", _no_penalty),
    "1 / 255 left out": with_gradient("Standardise", 0, lambda g: 255 * g),
    "not a number": with_gradient("lenet300", 0, lambda g: g * np.nan),
    "mask not applied to the gradient": with_problem(
        "fixed mask", lambda draw: model.pruner_problem(draw, partial(model.fixed_mask, kind=_MaskForgotten))
    ),
    "bias correction left out": with_problem("adam", lambda draw: model.adam_problem(draw, 0.0, _CorrectionForgotten)),
}
