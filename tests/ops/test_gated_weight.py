"""A weight multiplied by its gate: the float32 kernels, the general code, and gates that weights share."""

import numpy as np
import pytest

from npl0.ops import gated_weight as gw
from npl0.ops import hard_concrete


def draw(generator, dtype, size):
    """Return theta, log_alpha and u, which includes the extremes of float32 noise."""
    theta = generator.standard_normal(size).astype(dtype)
    log_alpha = (4 * generator.standard_normal(size)).clip(-10, 10).astype(dtype)
    u = generator.random(size).astype(dtype)
    u[: min(size, 4)] = [0, 2**-25, 1 - 2**-24, 0.5][: min(size, 4)]
    return theta, log_alpha, u


def reference(theta, log_alpha, u, grad_w, penalty_per_weight):
    """Compute z, weight, both gradients and the expected L0 norm in float64."""
    theta, log_alpha, u, grad_w = (array.astype(np.float64) for array in (theta, log_alpha, u, grad_w))
    z = hard_concrete.sample_reference(log_alpha, u)
    p = hard_concrete.open_probability(log_alpha)
    grad_log_alpha = hard_concrete.gate_backward(grad_w * theta, z) + penalty_per_weight * p * (1 - p)
    return z, theta * z, grad_w * z, grad_log_alpha, p.sum()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_kernels_equal_the_reference_and_their_sources(generator, dtype, size):
    theta, log_alpha, u = draw(generator, dtype, size)
    grad_w = generator.standard_normal(size).astype(dtype)
    expected = reference(theta, log_alpha, u, grad_w, 0.3)
    z, weight, grad_theta, grad_log_alpha = (np.full(size, np.nan, dtype) for _ in range(4))
    gw.gated_weight(theta, log_alpha, u, z, weight)
    total = gw.gated_weight_backward(grad_w, theta, log_alpha, z, 0.3, grad_theta, grad_log_alpha)
    for mine, right in zip((z, weight, grad_theta, grad_log_alpha, total), expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=3e-6)
    assert 0 < total < size
    if dtype == np.float32 and size < 10:
        interpreted = [np.full(size, np.nan, dtype) for _ in range(4)]
        gw.gated_weight_kernel.py_func(theta, log_alpha, u, *interpreted[:2], *gw._FORWARD)
        sum_p = gw.gated_weight_backward_kernel.py_func(
            grad_w, theta, log_alpha, interpreted[0], *interpreted[2:], np.float32(0.3), *gw._BACKWARD
        )
        for mine, right in zip((*interpreted, sum_p), (z, weight, grad_theta, grad_log_alpha, total), strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)


def test_exponential_of_the_kernel():
    x = np.linspace(-86, 86, 5001).astype(np.float32)
    computed = np.array([gw.exp_float32(value) for value in x])
    np.testing.assert_allclose(computed, np.exp(x.astype(np.float64)), rtol=3e-7)
    ends = [gw.exp_float32(np.float32(value)) for value in (-1e9, 1e9)]
    assert 0 < ends[0] < 1e-37 < 1e37 < ends[1] < np.inf


@pytest.mark.parametrize("log_alpha", [-20, -10, 0, 10, 20])
def test_extremes_are_finite(log_alpha):
    u = np.array([0, 2**-25, 0.5, 1 - 2**-24, 1], np.float32)
    theta, grad_w = np.full((2, 5), 2, np.float32)
    locations = np.full(5, log_alpha, np.float32)
    z, weight, grad_theta, grad_log_alpha = np.full((4, 5), np.nan, np.float32)
    gw.gated_weight(theta, locations, u, z, weight)
    gw.gated_weight_backward(grad_w, theta, locations, z, 1.0, grad_theta, grad_log_alpha)
    assert np.isfinite([z, weight, grad_theta, grad_log_alpha]).all()
    assert z[4] == 1
    assert (np.diff(z) >= 0).all()


def test_a_gate_does_not_hide_nan(dtype):
    theta, log_alpha, u = np.ones(3, dtype), np.array([0, np.nan, 0], dtype), np.full(3, 0.5, dtype)
    z, weight = np.empty_like(theta), np.empty_like(theta)
    gw.gated_weight(theta, log_alpha, u, z, weight)
    np.testing.assert_array_equal(np.isnan(weight), [False, True, False])


@pytest.mark.parametrize("gate_shape", [(3, 1, 1, 1), (1, 4, 1, 1)])
def test_shared_gates_equal_repeated_ones_summed(generator, dtype, gate_shape):
    shape = (3, 4, 2, 2)
    theta, grad_w = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
    log_alpha, u = generator.standard_normal(gate_shape).astype(dtype), generator.random(gate_shape).astype(dtype)
    z, weight = np.empty_like(log_alpha), np.empty_like(theta)
    gw.gated_weight(theta, log_alpha, u, z, weight)
    grads = np.empty_like(theta), np.empty_like(log_alpha)
    total = gw.gated_weight_backward(grad_w, theta, log_alpha, z, 0.3, *grads)

    spread = [np.broadcast_to(array, shape).copy() for array in (log_alpha, u)]
    expected = reference(theta, *spread, grad_w, 0.3)
    axes = tuple(axis for axis, size in enumerate(gate_shape) if size == 1)
    np.testing.assert_allclose(weight, expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads[0], expected[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads[1], expected[3].sum(axis=axes, keepdims=True), rtol=1e-4, atol=1e-5)
    assert total == pytest.approx(expected[4], rel=1e-5)
