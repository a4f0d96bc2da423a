"""What is warned of: layers that collapse, and with which words; not what stands beside them, and not too early."""

import warnings
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npl0.model_file import load_model
from npl0.pruning import PruningWarning
from npl0.pruning.checkup import Checkup, live_units

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"


def full(*sizes):
    """Return masks of linear layers that keep everything."""
    return {f"fc{i}.weight": np.ones((out, inputs), bool) for i, (inputs, out) in enumerate(pairwise(sizes), 1)}


def said(masks, method="l0", classes=10, checkup=None):
    """Return the messages about bottlenecks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PruningWarning)
        (checkup or Checkup(method, classes)).bottlenecks(masks)
    return [str(warning.message) for warning in caught]


# ---- live units -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 1000), st.floats(0, 1))
def test_a_unit_is_alive_if_a_path_goes_through_it(sizes, seed, density):
    generator = np.random.default_rng(seed)
    masks = {name: generator.random(mask.shape) < density for name, mask in full(*sizes).items()}
    links = [mask.astype(int) for mask in masks.values()]
    for i, count in enumerate(live_units(masks).values()):
        # The number of paths from each input to each unit, and from each unit to each output.
        before = reduce(lambda paths, link: link @ paths, links[: i + 1], np.eye(sizes[0], dtype=int))
        after = reduce(lambda paths, link: link @ paths, links[i + 1 :], np.eye(sizes[i + 1], dtype=int))
        assert count == ((before.sum(axis=1) > 0) & (after.sum(axis=0) > 0)).sum()


def test_units_of_a_convolution_are_its_filters_through_a_flattening_too():
    conv1, conv2, fc = np.zeros((3, 1, 2, 2), bool), np.zeros((4, 3, 2, 2), bool), np.zeros((2, 4 * 5), bool)
    # Filter 1 of conv1 goes into filters 0 and 2 of conv2; the classes look at channels 2 (inputs 10 to 14) and 3.
    conv1[1, 0, 0, 1] = conv2[0, 1, 1, 1] = conv2[2, 1, 0, 0] = conv2[3, 0, 0, 0] = True
    fc[0, 14] = fc[1, 15] = True
    assert live_units({"conv1.weight": conv1, "conv2.weight": conv2, "fc.weight": fc}) == {
        "conv1.weight": 1,
        "conv2.weight": 1,
        "fc.weight": 1,
    }


# ---- bottlenecks ----------------------------------------------------------------------------------------------------


def test_a_bottleneck_is_named_with_its_remedy_and_its_neighbours_are_not():
    masks = full(30, 100, 100, 10)
    masks["fc2.weight"][9:] = False
    masks["fc2.weight"][:, 5:] = False
    assert said(masks) == [
        "layer fc2 is collapsing: 9 of its 100 output units still lead from the input to the classes, with 45 of "
        "10,000 weights; lower its lambda (--layer-lambda fc2=0.5), make the ramp longer (--ramp-epochs), or start "
        "from a dense network (--init-from)"
    ]
    masks["fc2.weight"][9] = True
    assert said(masks) == []


def test_where_every_layer_has_units_that_lead_nowhere_the_thinnest_is_named():
    masks = full(30, 100, 100, 10)
    # Twelve units of fc1 have a weight each, but fc2 looks at no more than eight of them.
    masks["fc1.weight"][:] = False
    masks["fc1.weight"][:12, 0] = True
    masks["fc2.weight"][:, 8:12] = False
    (message,) = said(masks)
    assert message.startswith("layer fc1 is collapsing: 8 of its 100 output units") and "12 of 3,000 weights" in message


def test_a_wide_layer_needs_a_fiftieth_of_its_units():
    masks = full(30, 1000, 10)
    masks["fc1.weight"][19:] = False
    assert len(said(masks)) == 1
    masks["fc1.weight"][19] = True
    assert said(masks) == []


def test_a_layer_that_is_narrow_by_design_may_lose_half_of_its_units():
    masks = full(30, 6, 10)
    assert said(masks) == []
    masks["fc1.weight"][3:] = False
    assert said(masks) == []
    masks["fc1.weight"][2] = False
    assert len(said(masks)) == 1


def test_every_layer_is_named_once_and_again_when_it_dies():
    masks, checkup = full(30, 100, 10), Checkup("l0", 10)
    masks["fc1.weight"][3:] = False
    assert len(said(masks, checkup=checkup)) == 1
    assert said(masks, checkup=checkup) == []
    masks["fc1.weight"][:] = False
    assert said(masks, checkup=checkup) == []
    with pytest.warns(PruningWarning, match="layer fc1 died: none of its 3,000 weights is left"):
        checkup.dead_layers(masks)


@pytest.mark.parametrize("method", ["magnitude", "dense", "fixed mask"])
def test_methods_that_do_not_prune_gradually_are_not_warned(method):
    masks = full(30, 100, 10)
    masks["fc1.weight"][3:] = False
    assert said(masks, method) == []


def test_what_is_not_a_plain_stack_is_left_alone():
    masks = {**full(30, 100), "fc2.weight": np.ones((10, 130), bool)}
    masks["fc1.weight"][3:] = False
    assert said(masks) == []


@pytest.mark.parametrize("folder", sorted(RESULTS.glob("main/*l0*")), ids=lambda folder: folder.name)
def test_the_runs_of_the_readme_have_no_bottleneck(folder):
    network, _ = load_model(folder)
    assert said({weight.name: weight.value != 0 for weight in network.weights}) == []
