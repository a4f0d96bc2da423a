"""Optimisers over groups, their states, and the learning-rate schedules."""

import numpy as np
import pytest

from npl0.declare import ConfigError
from npl0.nn.parameter import Parameter, ParameterGroup
from npl0.ops.schedules import SCHEDULES
from npl0.ops.update import adam_reference, sgd_reference
from npl0.pruning.base import Step
from npl0.runtime.threads import BLOCK, Workers
from npl0.training.optimizers import SGD, Adam, Optimizer, build_optimizer
from npl0.training.recipe import Recipe

FIRST = Step(0)


def parameter(generator, name, size, dtype=np.float64):
    """Return a parameter with a random value and gradient."""
    result = Parameter(generator.standard_normal(size).astype(dtype), "weight", name)
    result.grad[...] = generator.standard_normal(size)
    return result


@pytest.mark.parametrize("threads", [1, 2])
def test_adam_over_several_blocks_equals_the_reference(generator, threads):
    long, short = parameter(generator, "long", (3, BLOCK)), parameter(generator, "short", 5)
    expected = [[p.value.copy(), np.zeros_like(p.value), np.zeros_like(p.value)] for p in (long, short)]
    optimizer = Optimizer([ParameterGroup([long], 0.1, 0.5), ParameterGroup([short], 0.01)], Adam())
    with Workers(threads) as workers:
        for t in (1, 2):
            optimizer.step(workers, Step(t - 1, rate_factor=0.5))
            for p, (value, m, v), rate, decay in zip((long, short), expected, (0.05, 0.005), (0.5, 0.0), strict=True):
                step_size, correction = rate / (1 - 0.9**t), 1 / (1 - 0.999**t)
                adam_reference(value, p.grad, m, v, step_size, 1 - 0.9, 1 - 0.999, 1e-8, correction, decay)
    for p, (value, *_) in zip((long, short), expected, strict=True):
        np.testing.assert_allclose(p.value, value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_over_several_blocks_equals_the_reference(generator, workers, nesterov):
    p = parameter(generator, "w", BLOCK + 3)
    value, velocity = p.value.copy(), np.zeros_like(p.value)
    optimizer = Optimizer([ParameterGroup([p], 0.1, 0.5)], SGD(0.8, nesterov))
    for _ in range(3):
        optimizer.step(workers, FIRST)
        sgd_reference(value, p.grad, velocity, 0.1, 0.8, 0.5, nesterov)
    np.testing.assert_allclose(p.value, value, rtol=1e-12, atol=1e-14)
    assert optimizer.steps == 3


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_group_with_its_own_schedule_ignores_that_of_the_stage(generator, workers, name):
    sizes = {}
    for factor, fraction in ((0.5, 0.0), (0.25, 0.8)):
        weight, gate = parameter(generator, "w", 4), parameter(generator, "g", 4)
        groups = [
            ParameterGroup([weight], 0.1),
            ParameterGroup([gate], 0.1, always_adam=True, schedule="step"),
        ]
        before = [p.value.copy() for p in (weight, gate)]
        weight.grad[...] = gate.grad[...] = 1
        step = Step(0, fraction, factor)
        build_optimizer(Recipe(optimizer=name, momentum=0.0), groups).step(workers, step)
        sizes[factor] = [np.abs(p.value - old).max() for p, old in zip((weight, gate), before, strict=True)]
    # Steps of a unit gradient are the learning rates: half of 0.1 and all of it, then a quarter and a tenth.
    np.testing.assert_allclose([sizes[0.5], sizes[0.25]], [[0.05, 0.1], [0.025, 0.01]], rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_momentum_of_a_recipe_does_not_reach_groups_that_adam_always_updates(generator, workers, name):
    moved = {}
    for momentum in (0.9, 0.5):
        weight, gate = (Parameter(np.zeros(4), "weight", text) for text in ("w", "g"))
        groups = [ParameterGroup([weight], 0.1), ParameterGroup([gate], 0.1, always_adam=True)]
        optimizer = build_optimizer(Recipe(optimizer=name, momentum=momentum), groups)
        for gradient in (1, -2):
            weight.grad[...] = gate.grad[...] = gradient
            optimizer.step(workers, FIRST)
        moved[momentum] = weight.value[0], gate.value[0]
    assert moved[0.9][0] != moved[0.5][0] and moved[0.9][1] == moved[0.5][1]
    # With the default momentum, one Adam for all groups would give the same bits as one for each.
    assert name != "adam" or moved[0.9][0] == moved[0.9][1]


def test_first_step_of_adam_is_the_learning_rate_whatever_the_gradient(workers, dtype):
    p = Parameter(np.zeros(3, dtype), "weight", "w")
    p.grad[...] = [1e-3, -5, 100]
    Optimizer([ParameterGroup([p], 0.01)], Adam()).step(workers, FIRST)
    np.testing.assert_allclose(p.value, [-0.01, 0.01, -0.01], rtol=1e-4)


def test_nesterov_by_hand(workers, dtype):
    p = Parameter(np.array([1], dtype), "weight", "w")
    optimizer = Optimizer([ParameterGroup([p], 0.1)], SGD(momentum=0.5))
    for expected in (1 - 0.1 * (2 + 0.5 * 2), 0.7 - 0.1 * (2 + 0.5 * 3)):
        p.grad[...] = 2
        optimizer.step(workers, FIRST)
        assert p.value[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_stored_state_continues_to_the_same_bits(generator, workers, name):
    p = parameter(generator, "w", 50, np.float32)
    optimizer = build_optimizer(Recipe(optimizer=name), [ParameterGroup([p], 0.1)])
    optimizer.step(workers, FIRST)
    value = p.value.copy()
    stored = {key: array.copy() for key, array in optimizer.state().items()}
    optimizer.step(workers, FIRST)

    again = Parameter(value, "weight", "w")
    again.grad[...] = p.grad
    other = build_optimizer(Recipe(optimizer=name), [ParameterGroup([again], 0.1)])
    other.load_state(stored)
    other.step(workers, FIRST)
    np.testing.assert_array_equal(again.value, p.value)
    assert other.steps == 2
    assert all(array.any() for array in stored.values())


def test_the_state_of_another_optimiser_is_refused(generator):
    groups = [ParameterGroup([parameter(generator, "w", (3, 2))], 0.1)]
    adam, sgd = Optimizer(groups, Adam()), Optimizer(groups, SGD())
    with pytest.raises(ValueError, match=r"do not belong to this optimiser: w\.m, w\.v, w\.velocity do not match"):
        sgd.load_state(adam.state())
    # An array that would broadcast is refused too.
    with pytest.raises(ValueError, match=r"w\.velocity has shape \(3, 2\), the stored one \(2,\)"):
        sgd.load_state({"steps": np.array(3), "w.velocity": np.ones(2)})


def test_a_parameter_is_in_one_group(generator):
    p = parameter(generator, "w", 2)
    with pytest.raises(ValueError, match="a name of its own and be in one group only"):
        Optimizer([ParameterGroup([p], 0.1), ParameterGroup([p], 0.2)], SGD())


def test_a_recipe_names_the_optimiser_and_its_momentum(generator):
    groups = [ParameterGroup([parameter(generator, "w", 2)], 0.1)]
    adam, sgd = (build_optimizer(Recipe(optimizer=name, momentum=0.7), groups).rule for name in ("adam", "sgd"))
    assert (adam, sgd) == (Adam(beta1=0.7), SGD(momentum=0.7, nesterov=True))
    with pytest.raises(ConfigError, match="optimizer 'lion' is unknown: use one of adam, sgd"):
        Recipe(optimizer="lion")


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("step", {0: 1, 0.69: 1, 0.7: 0.1, 1: 0.1}),
        ("linear", {0: 1, 0.25: 0.75, 1: 0}),
        ("cosine", {0: 1, 0.5: 0.5, 1: 0}),
        ("one-cycle", {0: 0.04, 0.15: 0.52, 0.3: 1, 0.65: 0.5, 1: 0}),
    ],
)
def test_schedules_at_their_ends_and_between(name, points):
    for fraction, factor in points.items():
        assert SCHEDULES[name](fraction) == pytest.approx(factor, abs=1e-12)


def test_every_schedule_has_its_points_above():
    assert set(SCHEDULES) == {"constant", "step", "linear", "cosine", "one-cycle"}


def test_the_rules_have_the_usual_constants():
    assert SGD() == SGD(momentum=0.9, nesterov=True)
    assert Adam() == Adam(beta1=0.9, beta2=0.999, epsilon=1e-8)
    assert Step(3) == Step(3, fraction=0.0, rate_factor=1.0, learning_rate=0.0)
