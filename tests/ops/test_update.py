"""The optimisers' kernels against their references and their sources."""

import numpy as np
import pytest

from npl0.ops import update
from npl0.training.optimizers import SGD, Adam


def sgd_case(generator, dtype, size, nesterov):
    """Return the arrays and settings of an SGD step."""
    arrays = generator.standard_normal((3, size)).astype(dtype)
    return list(arrays), [*(dtype.type(s) for s in (0.1, 0.9, 0.01)), nesterov]


def adam_case(generator, dtype, size):
    """Return the arrays and settings of an Adam step; the second moment is not negative."""
    arrays = generator.standard_normal((4, size)).astype(dtype)
    return [*arrays[:3], arrays[3] ** 2], [dtype.type(s) for s in (0.1, 0.1, 0.01, 1e-8, 4.0, 0.01)]


@pytest.mark.parametrize("size", [1, 5, 333])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam"])
def test_kernels_equal_their_references_and_their_sources(generator, dtype, name, size):
    if name == "adam":
        arrays, settings = adam_case(generator, dtype, size)
        kernel, reference = update.adam_kernel, update.adam_reference
    else:
        arrays, settings = sgd_case(generator, dtype, size, name == "nesterov")
        kernel, reference = update.sgd_kernel, update.sgd_reference
    by_kernel, by_reference, by_source = ([array.copy() for array in arrays] for _ in range(3))
    kernel(*by_kernel, *settings)
    reference(*by_reference, *settings)
    kernel.py_func(*by_source, *settings)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    for mine, right, source, before in zip(by_kernel, by_reference, by_source, arrays, strict=True):
        np.testing.assert_allclose(mine, right, **tolerance)
        np.testing.assert_allclose(source, right, **tolerance)
        assert (mine is by_kernel[1]) == np.array_equal(mine, before), "all arrays but the gradient change"


def test_sgd_by_hand():
    value, grad, velocity = np.array([1.0]), np.array([2.0]), np.array([10.0])
    update.sgd_reference(value, grad, velocity, 0.1, 0.5, 1.0, False)
    assert (value[0], velocity[0]) == pytest.approx((1 - 0.1 * 8, 8))
    value, velocity = np.array([1.0]), np.array([10.0])
    update.sgd_reference(value, grad, velocity, 0.1, 0.5, 1.0, True)
    assert (value[0], velocity[0]) == pytest.approx((1 - 0.1 * (3 + 0.5 * 8), 8))


def test_adam_by_hand():
    value, grad, m, v = np.array([1.0]), np.array([2.0]), np.array([4.0]), np.array([8.0])
    update.adam_reference(value, grad, m, v, 0.1, 0.5, 0.25, 0.0, 1.0, 1.0)
    assert (m[0], v[0]) == pytest.approx((3.5, 0.75 * 8 + 0.25 * 9))
    assert value[0] == pytest.approx(1 - 0.1 * 3.5 / np.sqrt(8.25))


@pytest.mark.parametrize("steps", [1, 10, 300])
@pytest.mark.parametrize("rule", [Adam(), Adam(beta1=0.99), SGD(), SGD(0.99), SGD(0.0)])
def test_float32_moves_as_far_as_float64(rule, steps):
    # Steady gradients, of which each update is a known multiple: no cancellation hides or adds an error.
    grad = np.array([1e-3, 0.3, -1, 40])
    moved = {}
    for dtype in (np.float32, np.float64):
        value, *slots = (np.zeros(4, dtype) for _ in ("value", *rule.slots))
        for t in range(1, steps + 1):
            before = value.copy()
            value[:] = 0
            rule.update(value, grad.astype(dtype), *slots, 2e-3, 0.0, t)
            moved[dtype] = value.copy()
            value += before
    np.testing.assert_allclose(moved[np.float32], moved[np.float64], rtol=1e-6)
