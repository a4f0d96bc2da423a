"""Live weights: on a path of kept weights from an input to an output."""

import json
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npl0
from npl0.pruning.live import live_masks
from npl0.pruning.masks import masks_of
from npl0.training.metrics import WeightCount


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 1000), st.floats(0, 1))
def test_a_weight_is_live_if_a_path_leads_through_it(sizes, seed, density):
    generator = np.random.default_rng(seed)
    masks = {str(i): generator.random((out, n)) < density for i, (n, out) in enumerate(pairwise(sizes))}
    links = [mask.astype(int) for mask in masks.values()]
    live = live_masks(masks)
    for i, link in enumerate(links):
        # The number of paths from the inputs to each unit before, and from each unit after to the outputs.
        before = reduce(lambda paths, link: link @ paths, links[:i], np.ones(sizes[0], int))
        after = reduce(lambda paths, link: paths @ link, links[:i:-1], np.ones(sizes[-1], int))
        np.testing.assert_array_equal(live[str(i)], link * np.outer(after, before) > 0)


def test_units_of_a_convolution_are_its_filters_through_a_flattening_too():
    conv1, conv2, fc = np.zeros((3, 1, 2, 2), bool), np.zeros((4, 3, 2, 2), bool), np.zeros((2, 4 * 5), bool)
    # Filter 1 of conv1 goes into filters 0 and 2 of conv2; the classes read channels 2 (inputs 10 to 14) and 3.
    conv1[1, 0, 0, 1] = conv2[0, 1, 1, 1] = conv2[2, 1, 0, 0] = conv2[3, 0, 0, 0] = True
    fc[0, 14] = fc[1, 15] = True
    live = live_masks({"conv1": conv1, "conv2": conv2, "fc": fc})
    assert {name: np.argwhere(mask).tolist() for name, mask in live.items()} == {
        "conv1": [[1, 0, 0, 1]],
        "conv2": [[2, 1, 0, 0]],
        "fc": [[0, 14]],
    }


def test_layers_that_are_no_chain_have_no_known_paths():
    masks = {"fc1": np.ones((10, 4), bool), "fc2": np.ones((3, 15), bool)}
    assert live_masks(masks) is None
    count = WeightCount.of_masks(masks)
    assert (count.live, count.effective_compression, count.live_text) == (None, None, "")
    assert str(count) == "85 of 85 weights (1.0x)"
    assert live_masks({}) == {}


@pytest.mark.parametrize("wrong", [[np.ones((2, 3), bool)], {"fc1": np.ones((2, 3))}, {"fc1": np.ones(2, bool)}, None])
def test_what_is_no_mask_is_refused(wrong):
    with pytest.raises(ValueError, match=r"live_masks takes bool arrays \(out, in, \.\.\.\) by name, as masks_of"):
        live_masks(wrong)


def test_changing_the_weights_that_are_not_live_changes_no_answer():
    network = npl0.build_model("lenet5", seed=3)
    images = npl0.load_dataset("mnist").test_images[:64]
    npl0.apply_masks(network, {w.name: np.random.default_rng(1).random(w.value.shape) < 0.004 for w in network.weights})
    live, before = live_masks(masks_of(network)), network.predict(images)
    dead = 0
    for weight in network.weights:
        idle = (weight.value != 0) & ~live[weight.name]
        dead += idle.sum()
        weight.value[idle] = 0
    assert dead > 100
    # A dead weight behind a dead unit multiplies the constant that its unit puts out, here 0: no bias was trained.
    np.testing.assert_array_equal(network.predict(images), before)


@pytest.mark.parametrize("method", ["l0", "magnitude"])
def test_a_result_counts_the_live_weights_of_its_model(method):
    results = Path(__file__).parents[2] / "experiments" / "results" / "main"
    folder = next(results.glob(f"lenet5-mnist-{method}-*-s0"))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    live = live_masks(masks_of(npl0.load_model(folder)))
    counts = [int(mask.sum()) for mask in live.values()]
    assert [row["live"] for row in result["layers"]] == counts
    assert result["weights_live"]["retrained"] == sum(counts) < result["nnz"]["weights"]
    assert result["effective_compression"] == 430_500 / sum(counts)


@pytest.mark.parametrize(
    ("count", "text", "effective"),
    [
        (WeightCount(100, 20, 10), "20 of 100 weights (5.0x), live 10 (10.0x)", 10),
        (WeightCount(1200, 1100, 1100), "1,100 of 1,200 weights (1.1x)", 1200 / 1100),
        (WeightCount(100, 20), "20 of 100 weights (5.0x)", None),
        (WeightCount(100, 20, 0), "20 of 100 weights (5.0x), live none", np.inf),
        (WeightCount(100, 0, 0), "0 of 100 weights (all pruned)", np.inf),
    ],
)
def test_counts_are_told_with_their_ratios(count, text, effective):
    assert (str(count), count.effective_compression) == (text, effective)
