"""The dense pruner, fixed masks, and pruning by magnitude."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import npl0
from npl0.nn.parameter import ParameterGroup
from npl0.pruning import L0, FixedMask, Magnitude, Plan, Pruner, Step, apply_masks, density, keep_largest
from npl0.training.optimizers import SGD, Adam, Optimizer


def half_masks(network):
    """Return masks that keep about half of every weight."""
    generator = np.random.default_rng(1)
    return {weight.name: generator.random(weight.value.shape) < 0.5 for weight in network.weights}


def optimizer_of(pruner, kind):
    """Return an optimiser with momentum and weight decay, which could revive a pruned weight."""
    groups = pruner.groups(0.05, 0.01)
    return Optimizer(groups, SGD() if kind == "sgd" else Adam())


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_masked_weights_never_grow_again(build, train, kind):
    network = build()
    masks = half_masks(network)
    pruner = FixedMask(network, masks)
    pruner.begin(Plan(0, 12, 1, 4))
    optimizer = optimizer_of(pruner, kind)
    for _ in range(4):
        before = [weight.value.copy() for weight in network.weights]
        train(pruner, optimizer, 1)
        pruner.write_test_weights()
        for weight, old in zip(network.weights, before, strict=True):
            mask = masks[weight.name]
            assert not weight.value[~mask].any()
            assert (weight.value[mask] != old[mask]).mean() > 0.5
    sizes = {name: slot.size for name, slot in optimizer.state().items()}
    for name, mask in masks.items():
        assert sizes[f"{name}.{'velocity' if kind == 'sgd' else 'm'}"] == mask.sum()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_full_mask_is_dense_training_bit_for_bit(build, train, kind):
    dense, masked = build(), build()
    full = {weight.name: np.ones(weight.value.shape, bool) for weight in masked.weights}
    pruners, losses = (Pruner(dense), FixedMask(masked, full)), []
    for pruner in pruners:
        pruner.begin(Plan(0, 12, 1, 3))
        losses.append(train(pruner, optimizer_of(pruner, kind), 3))
        pruner.write_test_weights()
    assert losses[0] == losses[1]
    for one, other in zip(dense.parameters, masked.parameters, strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def test_the_dense_pruner_trains_everything_and_prunes_nothing(build, train, workers, batch):
    network, plain = build(), build()
    pruner = Pruner(network)
    losses = train(pruner, optimizer_of(pruner, "adam"), 3)
    groups = [ParameterGroup(plain.weights, 0.05, 0.01), ParameterGroup([*plain.parameters[1::2]], 0.05)]
    optimizer = Optimizer(groups, Adam())
    for number, loss in enumerate(losses):
        assert plain.loss_and_gradients(*batch, workers, (0, number))[0] == loss
        optimizer.step(workers, Step(number))
    masks = pruner.finalise()
    assert density(masks) == 1
    assert pruner.expected_l0() is None
    for one, other in zip(network.parameters, plain.parameters, strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def test_applying_masks_zeroes_what_is_not_kept(build):
    network = build()
    before = [weight.value.copy() for weight in network.weights]
    masks = half_masks(network)
    apply_masks(network, masks)
    for weight, old in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.value, np.where(masks[weight.name], old, 0))
    assert density(masks) == pytest.approx(0.5, abs=0.05)


def test_masks_that_do_not_fit_are_refused(build):
    network = build()
    masks = half_masks(network)
    with pytest.raises(
        ValueError, match=r"masks are needed for conv1\.weight, fc1\.weight, fc2\.weight, but were given"
    ):
        apply_masks(network, {"conv1.weight": masks["conv1.weight"]})
    for wrong in (np.ones((5, 21), bool), np.ones((5, 20)), np.ones((5, 20), bool).tolist()):
        for use in (apply_masks, FixedMask):
            with pytest.raises(ValueError, match=r"the mask of fc2\.weight must be bool of shape \(5, 20\), not"):
                use(network, {**masks, "fc2.weight": wrong})
    for wrong in (np.ones((5, 20)), [True, False], 0.5, None):
        with pytest.raises(ValueError, match="density takes bool arrays by name"):
            density({**masks, "fc2.weight": wrong})
    for wrong in ({}, 0.5, [masks["fc2.weight"]], None):
        with pytest.raises(ValueError, match="density takes bool arrays by name, at least one"):
            density(wrong)


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=st.integers(0, 4).map(float)), st.data())
def test_exactly_count_are_kept_and_the_lower_index_wins_a_tie(scores, data):
    count = data.draw(st.integers(0, scores.size))
    mask = keep_largest(scores, count)
    assert mask.dtype == bool
    assert mask.sum() == count
    kept = [(-scores[i], i) for i in np.flatnonzero(mask)]
    lost = [(-scores[i], i) for i in np.flatnonzero(~mask)]
    assert not kept or not lost or max(kept) < min(lost)


def test_the_mask_has_the_shape_of_the_scores():
    np.testing.assert_array_equal(keep_largest(np.array([[1, 3], [3, 2]]), 2), [[False, True], [True, False]])


@pytest.mark.parametrize(
    ("scores", "count", "message"),
    [([1.0], 2, "cannot keep 2 of 1 weights"), ([1.0], -1, "cannot keep -1 of 1"), ([1.0, np.nan], 1, "contain NaN")],
)
def test_an_impossible_count_is_refused(scores, count, message):
    with pytest.raises(ValueError, match=message):
        keep_largest(np.array(scores), count)


@pytest.mark.parametrize("criterion", ["global", "layer-std"])
@pytest.mark.parametrize("compression", [1, 3.7, 1000, 1e9])
def test_magnitude_keeps_exactly_the_largest(build, criterion, compression):
    network = build()
    before = {weight.name: weight.value.copy() for weight in network.weights}
    pruner = Magnitude(network, criterion=criterion, compression=compression)
    assert density(pruner.masks()) == 1
    masks = pruner.finalise()
    size = sum(weight.size for weight in network.weights)
    assert sum(mask.sum() for mask in masks.values()) == max(1, round(size / compression))
    scale = {name: value.std() if criterion == "layer-std" else 1 for name, value in before.items()}
    scores = {name: np.abs(value) / scale[name] for name, value in before.items()}
    kept = np.concatenate([scores[name][mask] for name, mask in masks.items()])
    lost = np.concatenate([scores[name][~mask] for name, mask in masks.items()])
    assert kept.min() >= lost.max(initial=0)
    for weight in network.weights:
        np.testing.assert_array_equal(weight.value, np.where(masks[weight.name], before[weight.name], 0))
        np.testing.assert_array_equal(pruner.masks()[weight.name], masks[weight.name])


@pytest.mark.parametrize("criterion", ["global", "layer-std"])
def test_quality_is_a_threshold_in_standard_deviations(build, criterion):
    network = build()
    values = {weight.name: weight.value.copy() for weight in network.weights}
    everything = np.concatenate([value.reshape(-1) for value in values.values()])
    masks = Magnitude(network, criterion=criterion, compression=0, quality=1.5).finalise()
    for name, value in values.items():
        std = value.std() if criterion == "layer-std" else everything.std()
        np.testing.assert_array_equal(masks[name], np.abs(value) > 1.5 * std)
    assert 0 < density(masks) < 0.5


def test_an_unknown_criterion_is_refused(build):
    with pytest.raises(ValueError, match="criterion 'size' is unknown: use one of layer-std, global"):
        Magnitude(build(), criterion="size")


@pytest.mark.parametrize("settings", [{"compression": 2}, {"compression": 0, "quality": 0}])
def test_weights_that_are_zero_already_are_never_kept(build, settings):
    network = build()
    apply_masks(network, half_masks(network))
    for weight in network.weights:
        weight.value[weight.value > 0] = 0
    alive = {weight.name: weight.value != 0 for weight in network.weights}
    found, size = sum(map(np.sum, alive.values())), sum(map(np.size, alive.values()))
    said = rf"keeps {found} weights, not {size // 2}: the others were 0 before"
    with pytest.warns(UserWarning, match=said) if settings["compression"] else nullcontext():
        masks = Magnitude(network, **settings).finalise()
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, alive[name])


def test_l0_does_not_count_weights_that_are_zero_already(build):
    network = build()
    masks = half_masks(network)
    apply_masks(network, masks)
    pruner = L0(network, log_alpha_init=5)
    pruner.begin(Plan(0, 100, 1, 1))
    assert density(pruner.masks()) == density(masks)
    for name, mask in pruner.masks().items():
        np.testing.assert_array_equal(mask, masks[name])


def test_a_loaded_state_of_fixed_masks_holds_the_loaded_masks(build):
    network = build()
    masks, everything = half_masks(network), {w.name: np.ones(w.value.shape, bool) for w in network.weights}
    pruner = FixedMask(network, everything)
    pruner.load_state({name: mask.copy() for name, mask in masks.items()})
    for name, mask in pruner.masks().items():
        np.testing.assert_array_equal(mask, masks[name])
    for weight in network.weights:
        np.testing.assert_array_equal(weight.value != 0, masks[weight.name])


def test_other_masks_are_refused_once_training_has_begun(build):
    network = build()
    pruner = FixedMask(network)
    pruner.begin(Plan(0, 12, 1, 1))
    pruner.load_state({name: mask.copy() for name, mask in pruner.masks().items()})
    with pytest.raises(ValueError, match="training began with other masks than the stored ones"):
        pruner.load_state(half_masks(network))


def test_a_weight_at_the_threshold_itself_goes():
    network = npl0.Network([npl0.Linear(2, 2, bias=False)], (2,))
    network.weights[0].value = np.array([[1, -1], [1, -1]], np.float32)
    # The standard deviation is 1, so every weight lies at one deviation exactly.
    assert density(Magnitude(network, compression=0, quality=1.0).finalise()) == 0
    network.weights[0].value = np.array([[1, -1], [1, -1]], np.float32)
    assert density(Magnitude(network, compression=0, quality=0.999).finalise()) == 1
