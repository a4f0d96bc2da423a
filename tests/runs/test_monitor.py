"""Warnings of layers that collapse: the right layer, the right words, and not too early."""

import re
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0 import nn
from npl0.pruning import L0, FixedMask, Magnitude, Pruner
from npl0.runs import monitor as monitor_module
from npl0.runs.monitor import CollapseMonitor, PruningWarning, needed_units
from npl0.storage.model_file import load_model

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"


def linear(*sizes):
    """Return a network of linear layers of these sizes."""
    return nn.Network([nn.Linear(inputs, out) for inputs, out in pairwise(sizes)], (sizes[0],), seed=None)


def full_of(network):
    """Return the masks of a network that keep everything."""
    return {weight.name: np.ones(weight.value.shape, bool) for weight in network.weights}


def messages(masks, network, monitor=None):
    """Return the warnings that these masks cause, of a monitor with the remedies of L0 unless another is given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PruningWarning)
        (monitor or CollapseMonitor(network, L0.remedies)).watch(masks)
    return [str(warning.message) for warning in caught]


# ---- bottlenecks ----------------------------------------------------------------------------------------------------


def test_the_bottleneck_is_named_with_its_remedy_and_its_neighbours_are_not():
    network = linear(30, 100, 100, 10)
    masks = full_of(network)
    masks["fc2.weight"][9:] = False
    masks["fc2.weight"][:, 5:] = False
    assert messages(masks, network) == [
        "layer fc2 is collapsing: 5 of the 100 units between fc1 and fc2 lie on a path from input to output, and 45 of "
        "its 10,000 weights are left; halve its factor in layer_lambda, lengthen ramp_epochs, or start from a trained "
        "network"
    ]
    masks["fc2.weight"][9] = True
    assert messages(masks, network) == []


def test_of_the_two_layers_around_a_bottleneck_the_sparser_one_is_named():
    network = linear(30, 100, 100, 10)
    masks = full_of(network)
    masks["fc3.weight"][:, 5:] = False
    (message,) = messages(masks, network)
    assert message.startswith(
        "layer fc3 is collapsing: 5 of the 100 units between fc2 and fc3 lie on a path from input to output, and 50 of "
        "its 1,000 weights are left; halve its factor in layer_lambda"
    )
    masks["fc2.weight"][3:] = False
    (message,) = messages(masks, network)
    assert message.startswith("layer fc2 is collapsing: 3 of the 100 units between fc2 and fc3")


def test_a_flattened_unit_is_read_if_any_of_its_positions_is():
    network = nn.Network([nn.Conv2d(1, 40, 5), nn.MaxPool2d(12), nn.Flatten(), nn.Linear(160, 10)], (1, 28, 28))
    masks = full_of(network)
    masks["fc1.weight"].reshape(10, 40, 4)[:, 2:] = False
    (message,) = messages(masks, network)
    assert message.startswith("layer fc1 is collapsing: 2 of the 40 units between conv1 and fc1 lie on a path")
    assert "80 of its 1,600 weights" in message
    masks["fc1.weight"].reshape(10, 40, 4)[0, 2, 3] = True
    assert messages(masks, network) == []


def test_units_that_are_written_but_not_read_are_not_alive():
    network = linear(30, 100, 100, 10)
    masks = full_of(network)
    # Twelve units of fc1 have a weight each, but fc2 reads only eight of them.
    masks["fc1.weight"][:] = False
    masks["fc1.weight"][:12, 0] = True
    masks["fc2.weight"][:, 8:12] = False
    (message,) = messages(masks, network)
    assert message.startswith("layer fc1 is collapsing: 8 of the 100 units between fc1 and fc2")
    assert "12 of its 3,000 weights" in message


def test_a_wide_layer_needs_a_fiftieth_of_its_units():
    network = linear(30, 1000, 10)
    masks = full_of(network)
    masks["fc1.weight"][19:] = False
    assert len(messages(masks, network)) == 1
    masks["fc1.weight"][19] = True
    assert messages(masks, network) == []


def test_a_layer_that_is_narrow_by_design_may_lose_half_of_its_units():
    network = linear(30, 6, 10)
    masks = full_of(network)
    assert messages(masks, network) == []
    masks["fc1.weight"][3:] = False
    assert messages(masks, network) == []
    masks["fc1.weight"][2] = False
    assert len(messages(masks, network)) == 1


def test_a_layer_with_many_positions_needs_fewer_units_than_there_are_classes():
    # The next layer sees 12 x 12 positions of conv1 of LeNet-5 and 4 x 4 of conv2; 2 x 2 of conv12 of VGG-16, one of
    # conv13.
    lenet5, vgg16 = (needed_units(nn.build_model(name, seed=None)) for name in ("lenet5", "vgg16"))
    assert lenet5 == {"conv1.weight": 1, "conv2.weight": 1, "fc1.weight": 10, "fc2.weight": 10}
    assert vgg16["conv1.weight"] == 0.02 * 64 and vgg16["conv13.weight"] == 0.02 * 512
    narrow = needed_units(nn.build_model("vgg16", seed=None, width=0.25))
    assert (narrow["conv12.weight"], narrow["conv13.weight"]) == (3, 10)
    network = nn.build_model("lenet5", seed=None)
    masks = full_of(network)
    masks["conv1.weight"][9:] = False
    assert messages(masks, network) == []


def test_data_may_have_fewer_classes_than_the_network_has_outputs():
    network = linear(30, 100, 10)
    masks = full_of(network)
    masks["fc2.weight"][2:] = False
    assert messages(masks, network) == []


def test_a_layer_is_named_once_and_again_when_it_dies():
    network = linear(30, 100, 10)
    masks, monitor = full_of(network), CollapseMonitor(network, L0.remedies)
    masks["fc1.weight"][3:] = False
    assert len(messages(masks, network, monitor)) == 1
    assert messages(masks, network, monitor) == []
    masks["fc1.weight"][:] = False
    assert messages(masks, network, monitor) == [
        "layer fc1 died: none of its 3,000 weights is left; lower l0_lambda, or this layer's factor in layer_lambda"
    ]
    assert messages(masks, network, monitor) == []


def test_a_layer_that_was_hardly_pruned_is_named_at_the_end_unless_it_is_small():
    network = linear(30, 100, 10)
    monitor = CollapseMonitor(network, L0.remedies)
    masks = full_of(network)
    masks["fc1.weight"][0, :30] = False
    assert messages(masks, network, monitor) == []
    with pytest.warns(PruningWarning) as caught:
        monitor.review({**masks, "fc1.weight": np.ones((100, 30), bool)})
    assert [str(warning.message) for warning in caught] == [
        "layer fc1 was hardly pruned: 3,000 of 3,000 weights are left; raise l0_lambda or train longer"
    ]
    # 99 % of the weights are what a pruned layer may keep; fc2, with 1,000 weights, may keep all.
    with warnings.catch_warnings():
        warnings.simplefilter("error", PruningWarning)
        CollapseMonitor(network, L0.remedies).review(masks)


def test_every_interface_spells_the_settings_of_a_warning_in_its_own_way():
    warning = PruningWarning("layer fc1 died: none is left", "lower {l0_lambda}, or its factor in {layer_lambda}")
    assert str(warning) == "layer fc1 died: none is left; lower l0_lambda, or its factor in layer_lambda"
    assert warning.text(lambda name: f"<{name}>").endswith("; lower <l0_lambda>, or its factor in <layer_lambda>")


@pytest.mark.parametrize("kind", [L0, Magnitude])
def test_every_remedy_names_settings_of_its_method(kind):
    network = linear(4, 2)
    fields = vars(kind(network).settings)
    for trouble, remedy in kind.remedies.items():
        named = []
        PruningWarning("", remedy).text(lambda name, named=named: named.append(name) or name)
        assert named and set(named) <= fields.keys(), trouble
    troubles = {monitor_module.DIED, monitor_module.COLLAPSING, monitor_module.UNPRUNED}
    assert kind.remedies.keys() == FixedMask.remedies.keys() == troubles


def test_a_cut_that_leaves_too_little_is_reported_before_retraining():
    network = linear(30, 100, 40, 10)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8, 30)).astype(np.float32), np.arange(8)
    for compression, collapses in ((20, True), (4, False)):
        for weight, scale in zip(network.weights, (1, 0.5, 1) if collapses else (1, 1, 1), strict=True):
            weight.value[...] = rng.normal(size=weight.value.shape) * scale
        masks = Magnitude(network, criterion="global", compression=compression).finalise()
        pruner = FixedMask(network, masks)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PruningWarning)
            npl0.fit(network, images, labels, pruner, epochs=0, quiet=True)
        found = [str(warning.message) for warning in caught]
        assert len(found) == collapses
        assert all(re.match("layer fc2 is collapsing: .*; prune less, in this layer first", line) for line in found)


def test_dense_training_causes_no_warning_and_no_work(monkeypatch):
    network = linear(30, 100, 10)
    masks = full_of(network)
    masks["fc1.weight"][3:] = False
    monkeypatch.setattr(monitor_module, "live_masks", lambda masks: pytest.fail("the paths were followed"))
    monitor = CollapseMonitor(network, Pruner(network).remedies)
    assert messages(masks, network, monitor) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error", PruningWarning)
        monitor.review(masks)


def test_layers_that_are_not_a_chain_are_not_examined():
    network = linear(30, 100, 10)
    masks = {**full_of(network), "fc2.weight": np.ones((10, 130), bool)}
    masks["fc1.weight"][3:] = False
    assert messages(masks, network) == []
    assert messages({}, network) == []


@pytest.mark.parametrize("folder", sorted(RESULTS.glob("main/*l0*")), ids=lambda folder: folder.name)
def test_the_runs_of_the_readme_have_no_bottleneck(folder):
    network = load_model(folder)
    assert messages({weight.name: weight.value != 0 for weight in network.weights}, network) == []
