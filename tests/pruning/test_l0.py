"""The L0 pruner: noise, penalty, ramp, folding, shared gates."""

import numpy as np
import pytest

from npl0 import nn
from npl0.ops import hard_concrete
from npl0.pruning import L0, Plan, Step, density
from npl0.pruning.l0 import BLOCK_SIZE, CLAMP
from npl0.runtime import rng
from npl0.runtime.threads import Workers
from npl0.training.optimizers import build_optimizer
from npl0.training.recipe import Recipe

ADAM = Recipe()


def plan(seed=0):
    """Return a plan of 100 examples in four steps an epoch."""
    return Plan(seed, 100, 10, 4)


@pytest.fixture
def make(build, workers):
    """Build an L0 pruner of the small network that has begun, with gates from closed through half open to open."""

    def make_pruner(dtype=np.float32, spread=True, threads=workers, seed=0, **settings):
        pruner = L0(build(dtype), **{"ramp_epochs": 0, **settings})
        pruner.workers = threads
        pruner.begin(plan(seed))
        if spread:
            for i, log_alpha in enumerate(pruner.log_alphas):
                log_alpha.value[...] = 3 * np.random.default_rng(i).standard_normal(log_alpha.value.shape)
        return pruner

    return make_pruner


def weights(pruner):
    """Copy the weights of the network."""
    return [weight.value.copy() for weight in pruner.network.weights]


def test_gates_start_at_log_alpha_init(make):
    pruner = make(spread=False, log_alpha_init=1.5)
    for gate in pruner.log_alphas:
        assert gate.value.mean() == pytest.approx(1.5, abs=0.01)
        assert 0.005 < gate.value.std() < 0.015


def test_theta_starts_as_the_weights(make, build):
    for theta, weight in zip(make().theta, build().weights, strict=True):
        np.testing.assert_array_equal(theta.value, weight.value)
        assert theta.value.any()


def test_noise_is_keyed_by_the_step_and_the_seed(make):
    drawn = {}
    for name, seed, step in [("a", 0, 3), ("again", 0, 3), ("other step", 0, 4), ("other seed", 1, 3)]:
        pruner = make(seed=seed)
        pruner.write_weights(Step(step))
        drawn[name] = weights(pruner)
    for i, first in enumerate(drawn["a"]):
        np.testing.assert_array_equal(first, drawn["again"][i])
        assert not np.array_equal(first, drawn["other step"][i])
        assert not np.array_equal(first, drawn["other seed"][i])


def test_drawing_twice_changes_nothing(make):
    pruner = make()
    pruner.write_weights(Step(7))
    first = weights(pruner)
    pruner.write_test_weights()
    pruner.write_weights(Step(7))
    for one, other in zip(first, weights(pruner), strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_threads_give_the_bits_of_one(train, make):
    results = []
    for threads in (1, 2):
        with Workers(threads) as workers:
            pruner = make(threads=workers)
            optimizer = build_optimizer(ADAM, pruner.groups(1e-3, 0.0))
            results.append((train(pruner, optimizer, 3), {k: v.copy() for k, v in pruner.state().items()}))
    assert results[0][0] == results[1][0]
    for name, array in results[0][1].items():
        np.testing.assert_array_equal(array, results[1][1][name])


def test_a_weight_of_several_blocks_is_gated_in_every_row():
    network = nn.Network([nn.Linear(500, 300)], (500,))
    assert network.weights[0].size > 2 * BLOCK_SIZE
    pruner = L0(network)
    pruner.begin(plan())
    # All gates alike, so that only the noise tells them apart.
    pruner.log_alphas[0].value[...] = 0
    pruner.write_weights(Step(0))
    open_share = (network.weights[0].value != 0).mean(axis=1)
    np.testing.assert_allclose(open_share, hard_concrete.open_probability(np.zeros(1))[0], atol=0.12)
    # Each block has its own noise.
    rows = BLOCK_SIZE // 500
    pattern = network.weights[0].value != 0
    assert not np.array_equal(pattern[:rows], pattern[rows : 2 * rows])


@pytest.mark.parametrize("gate_shape", ["weight", "filter", "input"])
def test_penalty_is_the_formula(make, batch, workers, gate_shape, dtype):
    pruner = make(dtype, l0_lambda=5.0, layer_lambda={"fc1": 0.5, "conv1": 0.0}, gate_shape=gate_shape)
    pruner.write_weights(Step(0))
    pruner.network.loss_and_gradients(*batch, workers, (0,))
    expected = {
        gate.name.split(".")[0]: float(hard_concrete.open_probability(gate.value).sum()) * theta.size / gate.size
        for gate, theta in zip(pruner.log_alphas, pruner.theta, strict=True)
    }
    assert pruner.read_gradients(Step(0)) == pytest.approx(
        5 / 100 * (0.5 * expected["fc1"] + expected["fc2"]), rel=1e-5
    )
    assert pruner.expected_l0() == pytest.approx(sum(expected.values()), rel=1e-6)
    assert 0 < pruner.expected_l0() < sum(theta.size for theta in pruner.theta)


def test_lambda_rises_linearly_to_its_full_strength(make, batch, workers):
    ramped, full = make(ramp_epochs=1), make()
    factors = []
    for step in range(6):
        penalties = []
        for pruner in (ramped, full):
            pruner.write_weights(Step(step))
            pruner.network.loss_and_gradients(*batch, workers, (0,))
            penalties.append(pruner.read_gradients(Step(step)))
        factors.append(penalties[0] / penalties[1])
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_gates_are_held_within_the_clamp(make):
    pruner = make()
    for gate in pruner.log_alphas:
        gate.value[...] *= 100
    pruner.after_step(Step(0))
    for gate in pruner.log_alphas:
        assert np.abs(gate.value).max() == CLAMP == 10


@pytest.mark.parametrize("test_gate", ["paper", "median"])
@pytest.mark.parametrize("gate_shape", ["weight", "filter", "input"])
def test_folding_the_gates_changes_no_bit(make, batch, gate_shape, test_gate):
    pruner = make(gate_shape=gate_shape, test_gate=test_gate)
    pruner.write_test_weights()
    gated = pruner.network.predict(batch[0])
    masks = pruner.finalise()
    np.testing.assert_array_equal(pruner.network.predict(batch[0]), gated)
    assert gated.any()
    assert 0 < density(masks) < 1
    for weight, gate in zip(pruner.network.weights, pruner.log_alphas, strict=True):
        opened = hard_concrete.deterministic_gate(gate.value, test_gate) > 0
        np.testing.assert_array_equal(masks[weight.name], np.broadcast_to(opened, weight.value.shape))
        np.testing.assert_array_equal(weight.value != 0, masks[weight.name])


@pytest.mark.parametrize(("gate_shape", "axis"), [("filter", 0), ("input", 1)])
def test_shared_gates_take_whole_filters_or_inputs(make, gate_shape, axis):
    pruner = make(gate_shape=gate_shape)
    for mask, theta, gate in zip(pruner.finalise().values(), pruner.theta, pruner.log_alphas, strict=True):
        assert gate.size == theta.value.shape[axis]
        lines = np.moveaxis(mask, axis, 0).reshape(gate.size, -1)
        np.testing.assert_array_equal(lines.all(axis=1), lines.any(axis=1))
    pruner.write_weights(Step(0))
    drawn = np.moveaxis(pruner.network.weights[1].value, axis, 0) != 0
    np.testing.assert_array_equal(drawn.all(axis=1), drawn.any(axis=1))


def test_the_penalty_closes_gates(make, train):
    kept = []
    for l0_lambda in (0.0, 20.0):
        pruner = make(spread=False, l0_lambda=l0_lambda, log_alpha_init=0.0, gate_learning_rate=0.3)
        train(pruner, build_optimizer(ADAM, pruner.groups(1e-3, 0.0)), 20)
        kept.append(pruner.expected_l0())
    assert kept[1] < 0.5 * kept[0]


def test_training_lowers_the_loss(make, train):
    pruner = make(spread=False, l0_lambda=0.01)
    losses = train(pruner, build_optimizer(ADAM, pruner.groups(1e-2, 0.0)), 40)
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])


def test_groups_are_weights_others_and_gates(make):
    pruner = make(gate_learning_rate=0.7, gate_schedule="linear")
    weights_group, rest, gates = pruner.groups(0.1, 0.2)
    assert (weights_group.parameters, weights_group.learning_rate, weights_group.weight_decay) == (
        pruner.theta,
        0.1,
        0.2,
    )
    assert ([p.kind for p in rest.parameters], rest.learning_rate, rest.weight_decay) == (["bias"] * 3, 0.1, 0.0)
    assert (gates.parameters, gates.learning_rate, gates.weight_decay) == (pruner.log_alphas, 0.7, 0.0)
    assert (weights_group.schedule, rest.schedule, gates.schedule) == ("", "", "linear")


def test_state_goes_round(make):
    pruner, other = make(), make(spread=False, seed=5)
    other.load_state({name: array.copy() for name, array in pruner.state().items()})
    pruner.write_test_weights()
    for one, its in zip(weights(pruner), weights(other), strict=True):
        np.testing.assert_array_equal(one, its)
        assert one.any()


def test_the_state_of_other_gates_is_refused(make):
    with pytest.raises(
        ValueError, match=r"conv1.weight.log_alpha has shape \(4, 1, 3, 3\), the stored one \(4, 1, 1, 1\)"
    ):
        make().load_state(make(gate_shape="filter").state())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l0_lambda": -1}, "l0_lambda = -1.0 is out of range: it must be 0 to 1e[+]06"),
        ({"ramp_epochs": "long"}, "ramp_epochs must be a number, not 'long'"),
        ({"layer_lambda": {"fc1": -1.0}}, "layer_lambda 'fc1=-1.0' is not NAME=FACTOR with a finite factor of at le"),
        ({"layer_lambda": {"fc9": 1.0}}, "layer_lambda names fc9; the gated layers are conv1, fc1, fc2"),
        ({"gate_shape": "row"}, "gate_shape 'row' is unknown: use one of weight, filter, input"),
        ({"gate_schedule": "steps"}, "gate_schedule 'steps' is unknown: did you mean 'step'"),
        ({"test_gate": "mean"}, "test_gate 'mean' is unknown: did you mean 'median'"),
    ],
)
def test_impossible_settings_are_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        L0(build(), **settings)


def test_the_network_is_unchanged_until_training_begins(build):
    network, untouched = build(), build()
    pruner = L0(network, log_alpha_init=-1)
    for state in (pruner.state(), dict(enumerate(pruner.theta))):
        assert state == {}
    assert density(pruner.masks()) == 1 and pruner.expected_l0() == 0
    pruner.write_test_weights()
    for one, other in zip(network.weights, untouched.weights, strict=True):
        np.testing.assert_array_equal(one.value, other.value)
    pruner.begin(plan())
    assert not np.array_equal(network.weights[0].value, untouched.weights[0].value)


def test_a_second_stage_keeps_the_gates_and_ramps_lambda_anew(make):
    pruner = make(ramp_epochs=1)
    gates = [log_alpha.value.copy() for log_alpha in pruner.log_alphas]
    theta = pruner.theta[0]
    assert pruner.ramp(Step(9)) == 1
    pruner.write_test_weights()
    pruner.begin(Plan(1, 50, 10, 8))
    assert pruner.theta[0] is theta and pruner.ramp(Step(3)) == 0.5
    for log_alpha, before in zip(pruner.log_alphas, gates, strict=True):
        np.testing.assert_array_equal(log_alpha.value, before)


def test_a_weight_that_was_changed_between_two_stages_is_not_overwritten(make):
    pruner = make()
    pruner.write_test_weights()
    weight, other = pruner.network.weights[1], Plan(1, 50, 10, 8)
    weight.value[0, 0] += 1
    changed = weight.value.copy()
    with pytest.raises(
        ValueError, match=r"fc1\.weight is not theta times its gate, and would be overwritten: a change"
    ):
        pruner.begin(other)
    np.testing.assert_array_equal(weight.value, changed)
    pruner.theta[1].value[0, 0] += 1
    pruner.write_test_weights()
    pruner.begin(other)


def test_finalising_leaves_the_test_weights_and_not_those_of_a_draw(make):
    pruner = make()
    pruner.write_weights(Step(0))
    drawn = [weight.value.copy() for weight in pruner.network.weights]
    pruner.finalise()
    for weight, theta, log_alpha, draw in zip(
        pruner.network.weights, pruner.theta, pruner.log_alphas, drawn, strict=True
    ):
        np.testing.assert_array_equal(weight.value, theta.value * hard_concrete.deterministic_gate(log_alpha.value))
        assert not np.array_equal(weight.value, draw)


@pytest.mark.parametrize(("gate_shape", "rows"), [("weight", (2, 2, 1)), ("filter", (2, 2, 1)), ("input", (5,))])
def test_the_noise_of_some_rows_is_keyed_by_seed_step_layer_and_block(gate_shape, rows):
    network = nn.Network([nn.Linear(BLOCK_SIZE // 2, 5, bias=False)], (BLOCK_SIZE // 2,))
    pruner = L0(network, gate_shape=gate_shape)
    pruner.begin(Plan(seed=3, n_train=10, epochs=1, steps_per_epoch=10))
    pruner.write_weights(Step(7))
    (theta,), (log_alpha,), start = pruner.theta, pruner.log_alphas, 0
    for number, count in enumerate(rows):
        location = log_alpha.value[start : start + count]
        u = rng.generator(3, "gates", 1 + 7, 0, number).random(location.shape, dtype=np.float32)
        expected = theta.value[start : start + count] * hard_concrete.sample(location, u)
        np.testing.assert_allclose(network.weights[0].value[start : start + count], expected, rtol=1e-4, atol=1e-6)
        start += count
    assert start == 5
