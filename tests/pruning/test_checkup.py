"""What is warned of: layers that collapse, and with which words; not what stands beside them, and not too early."""

import warnings
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npl0 import nn
from npl0.pruning import Magnitude, PruningWarning
from npl0.pruning import checkup as checkup_module
from npl0.pruning.checkup import Checkup, live_units, needed_units, unit_links
from npl0.storage.model_file import load_model

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"


def linear(*sizes):
    """Return a network of linear layers of these sizes."""
    return nn.Network([nn.Linear(inputs, out) for inputs, out in pairwise(sizes)], (sizes[0],), seed=None)


def full_of(network):
    """Return the masks of a network that keep everything."""
    return {weight.name: np.ones(weight.value.shape, bool) for weight in network.weights}


def said(masks, network, method="l0", checkup=None):
    """Return the messages about bottlenecks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PruningWarning)
        (checkup or Checkup(method, network)).bottlenecks(masks)
    return [str(warning.message) for warning in caught]


# ---- live units -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 1000), st.floats(0, 1))
def test_a_unit_is_alive_if_a_path_goes_through_it(sizes, seed, density):
    generator = np.random.default_rng(seed)
    masks = {name: generator.random(mask.shape) < density for name, mask in full_of(linear(*sizes)).items()}
    links = [mask.astype(int) for mask in masks.values()]
    for i, count in enumerate(live_units(unit_links(masks)).values()):
        # The number of paths from each input to each unit, and from each unit to each output.
        before = reduce(lambda paths, link: link @ paths, links[: i + 1], np.eye(sizes[0], dtype=int))
        after = reduce(lambda paths, link: link @ paths, links[i + 1 :], np.eye(sizes[i + 1], dtype=int))
        assert count == ((before.sum(axis=1) > 0) & (after.sum(axis=0) > 0)).sum()


def test_units_of_a_convolution_are_its_filters_through_a_flattening_too():
    conv1, conv2, fc = np.zeros((3, 1, 2, 2), bool), np.zeros((4, 3, 2, 2), bool), np.zeros((2, 4 * 5), bool)
    # Filter 1 of conv1 goes into filters 0 and 2 of conv2; the classes look at channels 2 (inputs 10 to 14) and 3.
    conv1[1, 0, 0, 1] = conv2[0, 1, 1, 1] = conv2[2, 1, 0, 0] = conv2[3, 0, 0, 0] = True
    fc[0, 14] = fc[1, 15] = True
    assert live_units(unit_links({"conv1.weight": conv1, "conv2.weight": conv2, "fc.weight": fc})) == {
        "conv1.weight": 1,
        "conv2.weight": 1,
        "fc.weight": 1,
    }


# ---- bottlenecks ----------------------------------------------------------------------------------------------------


def test_a_bottleneck_is_named_with_its_remedy_and_its_neighbours_are_not():
    network = linear(30, 100, 100, 10)
    masks = full_of(network)
    masks["fc2.weight"][9:] = False
    masks["fc2.weight"][:, 5:] = False
    assert said(masks, network) == [
        "layer fc2 is collapsing: 9 of its 100 output units still lead from the input to the classes, with 45 of "
        "10,000 weights; lower its lambda (--layer-lambda fc2=0.5), make the ramp longer (--ramp-epochs), or start "
        "from a dense network (--init-from)"
    ]
    masks["fc2.weight"][9] = True
    assert said(masks, network) == []


def test_a_layer_that_looks_at_too_little_is_named_not_the_one_it_looks_at():
    network = linear(30, 100, 100, 10)
    masks = full_of(network)
    masks["fc3.weight"][:, 5:] = False
    (message,) = said(masks, network)
    assert message.startswith(
        "layer fc3 is collapsing: it looks at 5 of the 100 units before it, with 50 of 1,000 weights; lower its lambda "
        "(--layer-lambda fc3=0.5)"
    )
    # Where both have closed too many it is the one that closed more.
    masks["fc2.weight"][3:] = False
    (message,) = said(masks, network)
    assert message.startswith("layer fc2 is collapsing: 3 of its 100 output units")


def test_a_flattened_unit_is_looked_at_if_any_position_of_it_is():
    network = nn.Network([nn.Conv2d(1, 40, 5), nn.MaxPool2d(12), nn.Flatten(), nn.Linear(160, 10)], (1, 28, 28))
    masks = full_of(network)
    masks["fc1.weight"].reshape(10, 40, 4)[:, 2:] = False
    (message,) = said(masks, network)
    assert message.startswith("layer fc1 is collapsing: it looks at 2 of the 40 units before it, with 80 of 1,600")
    masks["fc1.weight"].reshape(10, 40, 4)[0, 2, 3] = True
    assert said(masks, network) == []


def test_where_every_layer_has_units_that_lead_nowhere_the_thinnest_is_named():
    network = linear(30, 100, 100, 10)
    masks = full_of(network)
    # Twelve units of fc1 have a weight each, but fc2 looks at no more than eight of them.
    masks["fc1.weight"][:] = False
    masks["fc1.weight"][:12, 0] = True
    masks["fc2.weight"][:, 8:12] = False
    (message,) = said(masks, network)
    assert message.startswith("layer fc1 is collapsing: 8 of its 100 output units") and "12 of 3,000 weights" in message


def test_a_wide_layer_needs_a_fiftieth_of_its_units():
    network = linear(30, 1000, 10)
    masks = full_of(network)
    masks["fc1.weight"][19:] = False
    assert len(said(masks, network)) == 1
    masks["fc1.weight"][19] = True
    assert said(masks, network) == []


def test_a_layer_that_is_narrow_by_design_may_lose_half_of_its_units():
    network = linear(30, 6, 10)
    masks = full_of(network)
    assert said(masks, network) == []
    masks["fc1.weight"][3:] = False
    assert said(masks, network) == []
    masks["fc1.weight"][2] = False
    assert len(said(masks, network)) == 1


def test_a_layer_with_many_positions_needs_fewer_units_than_there_are_classes():
    # Before the next layer conv1 of LeNet-5 has 12 x 12 positions, conv2 4 x 4; conv12 of VGG-16 has four, conv13 one.
    lenet5, vgg16 = (needed_units(nn.build_model(name, seed=None)) for name in ("lenet5", "vgg16"))
    assert lenet5 == {"conv1.weight": 1, "conv2.weight": 1, "fc1.weight": 10, "fc2.weight": 10}
    assert vgg16["conv1.weight"] == 0.02 * 64 and vgg16["conv13.weight"] == 0.02 * 512
    narrow = needed_units(nn.build_model("vgg16", seed=None, width=0.25))
    assert (narrow["conv12.weight"], narrow["conv13.weight"]) == (3, 10)
    network = nn.build_model("lenet5", seed=None)
    masks = full_of(network)
    masks["conv1.weight"][9:] = False
    assert said(masks, network) == []


def test_data_may_have_fewer_classes_than_the_network_has_outputs():
    network = linear(30, 100, 10)
    masks = full_of(network)
    masks["fc2.weight"][2:] = False
    assert said(masks, network) == []


def test_every_layer_is_named_once_and_again_when_it_dies():
    network = linear(30, 100, 10)
    masks, checkup = full_of(network), Checkup("l0", network)
    masks["fc1.weight"][3:] = False
    assert len(said(masks, network, checkup=checkup)) == 1
    assert said(masks, network, checkup=checkup) == []
    masks["fc1.weight"][:] = False
    assert said(masks, network, checkup=checkup) == []
    with pytest.warns(PruningWarning, match="layer fc1 died: none of its 3,000 weights is left"):
        checkup.dead_layers(masks)


def test_a_cut_that_leaves_too_little_is_told_before_the_retraining():
    network = linear(30, 100, 40, 10)
    rng = np.random.default_rng(0)
    for weight, scale in zip(network.weights, (1, 0.5, 1), strict=True):
        weight.value[...] = rng.normal(size=weight.value.shape) * scale
    pruner = Magnitude(network, "global", compression=20)
    with pytest.warns(PruningWarning, match=r"layer fc2 is collapsing: .* lower the compression, or try the"):
        pruner.finalise()
    for weight in network.weights:
        weight.value[...] = rng.normal(size=weight.value.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PruningWarning)
        Magnitude(network, "global", compression=4).finalise()


@pytest.mark.parametrize("method", ["dense", "fixed mask"])
def test_methods_that_do_not_prune_are_neither_warned_nor_looked_at(method, monkeypatch):
    network = linear(30, 100, 10)
    masks = full_of(network)
    masks["fc1.weight"][3:] = False
    monkeypatch.setattr(checkup_module, "unit_links", lambda masks: pytest.fail("the masks were walked through"))
    assert said(masks, network, method) == []


def test_what_is_not_a_plain_stack_is_left_alone():
    network = linear(30, 100, 10)
    masks = {**full_of(network), "fc2.weight": np.ones((10, 130), bool)}
    masks["fc1.weight"][3:] = False
    assert said(masks, network) == []
    assert said({}, network) == []


@pytest.mark.parametrize("folder", sorted(RESULTS.glob("main/*l0*")), ids=lambda folder: folder.name)
def test_the_runs_of_the_readme_have_no_bottleneck(folder):
    network, _ = load_model(folder)
    assert said({weight.name: weight.value != 0 for weight in network.weights}, network) == []
