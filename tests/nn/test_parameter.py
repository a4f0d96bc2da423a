"""Parameters: the array that is trained, its gradient, and what may be assigned to it."""

import numpy as np
import pytest

from npl0.nn import Linear, Network, Parameter
from npl0.pruning import L0, Plan, Step


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([1.0], "not list"),
        (np.zeros(3, int), "not int64"),
        (np.zeros((2, 3)).T, r"not float64 \(8, 24\)"),
    ],
)
def test_what_kernels_cannot_update_is_refused(value, found):
    with pytest.raises(ValueError, match=f"must be a C-contiguous float32 or float64 array, {found}"):
        Parameter(value, "weight")


def test_an_assigned_value_is_copied(dtype):
    parameter = Parameter(np.zeros((2, 3), dtype), "bias")
    view, grad, new = parameter.value.reshape(-1), parameter.grad, np.arange(6, dtype=dtype).reshape(2, 3)
    parameter.value = new
    new[...] = 9
    assert list(view) == [0, 1, 2, 3, 4, 5]
    parameter.value *= 2
    assert list(view) == [0, 2, 4, 6, 8, 10]
    assert parameter.grad is grad


@pytest.mark.parametrize("value", [np.zeros((3, 2), np.float32), np.zeros((2, 3)), np.float32(0), [[0.0] * 3] * 2])
def test_a_value_of_another_shape_or_dtype_is_refused(value):
    parameter = Parameter(np.ones((2, 3), np.float32), "weight", "fc1.weight")
    with pytest.raises(ValueError, match=r"fc1.weight, shape \(2, 3\), float32\) cannot take a value of shape"):
        parameter.value = value
    assert (parameter.value == 1).all()


def test_a_weight_assigned_in_training_is_the_one_that_trains():
    layer = Linear(3, 2)
    pruner = L0(Network([layer], (3,)))
    pruner.begin(Plan(seed=0, n_train=10, epochs=1, steps_per_epoch=1))
    pruner.theta[0].value = np.full((2, 3), 5, np.float32)
    pruner.write_weights(Step(0))
    assert layer.weight.value.max() == 5
