"""Compaction: what pruning made useless goes, and the network computes the same."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import npl0
from npl0.nn import AvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Network, ReLU
from npl0.pruning import live_masks
from npl0.sparse import compact

RUNS = Path(__file__).parents[2] / "experiments" / "results"


def sizes(network):
    return [weight.value.shape[:2] for weight in network.weights]


@pytest.fixture(scope="module")
def test_images():
    return npl0.load_dataset("mnist").test_images


@pytest.mark.parametrize("kind", ["lenet5-mnist-l0-*-s0", "lenet5-mnist-magnitude-*-s0", "lenet300-mnist-l0-*-s0"])
def test_a_stored_network_classifies_every_test_image_as_before(kind, test_images, tmp_path):
    network = npl0.load_model(next((RUNS / "main").glob(kind)))
    live = live_masks(npl0.masks_of(network))
    # Filters and units on a path from an input to a class stay; a channel keeps all its pixels.
    units = [int(mask.reshape(len(mask), -1).any(axis=1).sum()) for mask in live.values()]
    inputs = [network.weights[0].value.shape[1], *units[:-1]]
    if network.name == "lenet5":
        inputs[2] *= 16
    expected = list(zip([*units[:-1], 10], inputs, strict=True))
    before = {name: value.copy() for name, value in network.state().items()}
    small = compact(network)
    assert sizes(small) == expected and small.name == network.name
    assert sum(weight.size for weight in small.weights) < 0.9 * sum(weight.size for weight in network.weights)
    # The weights that are gone are those without effect.
    assert [np.count_nonzero(weight.value) for weight in small.weights] == [mask.sum() for mask in live.values()]
    logits, found = network.predict(test_images), small.predict(test_images)
    assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()
    assert np.array_equal(found.argmax(axis=1), logits.argmax(axis=1))
    for name, value in network.state().items():
        np.testing.assert_array_equal(value, before[name])
    # Nothing is left to remove, and the model file takes it.
    assert sizes(compact(small)) == expected
    npl0.save_model(tmp_path / "small.npz", small)
    loaded = npl0.load_model(tmp_path / "small.npz")
    np.testing.assert_array_equal(loaded.predict(test_images[:9]), small.predict(test_images[:9]))


def test_a_stored_vgg16_computes_the_same(generator):
    network = npl0.load_model(RUNS / "vgg16" / "vgg16-cifar10-l0-04aa45eb-s1")
    images = generator.integers(0, 256, (8, 3, 32, 32), np.uint8)
    small, logits = compact(network), network.predict(images)
    assert np.abs(small.predict(images) - logits).max() <= 1e-5 * np.abs(logits).max()
    assert not any(layer.kind == "bn" for layer in small.layers)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("constant", [2.0, -2.0])
def test_the_constant_of_a_dead_filter_moves_through_relu_and_pooling(generator, padding, constant):
    layers = [Conv2d(1, 3, 3), ReLU(), AvgPool2d(2), Conv2d(3, 4, 3, padding=padding, bias=False), Flatten()]
    shape = Network([*layers], (1, 10, 10), seed=None).output_shape
    for layer in layers:
        layer.name = ""
    network = Network([*layers, Linear(shape[0], 2)], (1, 10, 10), dtype=np.float64)
    conv1, conv2 = network.layers[0], network.layers[3]
    conv1.weight.value[1], conv1.bias.value[:] = 0, [0.5, constant, 0.1]
    images = generator.standard_normal((4, 1, 10, 10))
    small = compact(network)
    np.testing.assert_allclose(small.predict(images), network.predict(images), rtol=1e-12)
    # Beside a padded border, 2 is not what a filter reads everywhere; 0 is.
    gone = padding == 0 or constant < 0
    assert sizes(small)[0] == (3 - gone, 1)
    assert conv2.bias is None and np.any(small.layers[3].bias.value != 0) == (gone and constant > 0)


def test_a_filter_that_nothing_reads_goes_with_those_it_alone_reads(generator):
    network = Network([Conv2d(1, 4, 3), ReLU(), Conv2d(4, 4, 3), Flatten(), ReLU(), Linear(64, 2)], (1, 8, 8), seed=1)
    _, conv2, fc1 = network.weights
    fc1.value[:, 16:32] = 0
    # Filter 3 is read by filter 1 alone, which the classes do not read.
    conv2.value[[0, 2, 3], 3] = 0
    fc1.value[:, 5] = 0
    images = generator.standard_normal((4, 1, 8, 8)).astype(np.float32)
    small = compact(network)
    assert sizes(small) == [(3, 1), (3, 3), (2, 48)]
    np.testing.assert_allclose(small.predict(images), network.predict(images), rtol=1e-4, atol=1e-5)


def test_a_network_without_weights_keeps_its_classes(generator):
    network = npl0.build_model("mlp:20-10", seed=None)
    for parameter in network.parameters:
        if parameter.kind == "bias":
            parameter.value[...] = generator.standard_normal(parameter.size)
    images = generator.integers(0, 256, (3, 1, 28, 28), np.uint8)
    small = compact(network)
    assert sizes(small) == [(1, 784), (1, 1), (10, 1)]
    np.testing.assert_array_equal(small.predict(images), network.predict(images))


class Reversed(Layer):
    """A layer that npl0 does not know: it mixes channels."""

    def forward(self, x, context):
        return x[::-1].copy(), None


def test_what_an_unknown_layer_reads_and_returns_stays(generator):
    layers = [Conv2d(1, 4, 3), ReLU(), Reversed(), Conv2d(4, 5, 3), ReLU(), Flatten(), Linear(80, 6), Linear(6, 2)]
    network = Network(layers, (1, 8, 8), dtype=np.float64)
    conv1, conv2, fc1, _ = network.weights
    conv1.value[0], conv2.value[:, 1], conv2.value[2], fc1.value[3] = 0, 0, 0, 0
    images = generator.standard_normal((4, 1, 8, 8))
    small = compact(network)
    assert sizes(small) == [(4, 1), (4, 4), (5, 64), (2, 5)]
    np.testing.assert_allclose(small.predict(images), network.predict(images), rtol=1e-12)


@st.composite
def pruned_networks(draw):
    """A chain of random layers with random weights, most of them pruned."""
    side, channels, layers = 9, draw(st.integers(1, 3)), []
    shape = (channels, side, side)
    between = st.sampled_from([ReLU, lambda: Dropout(0.5), lambda: MaxPool2d(2), lambda: AvgPool2d(2, 1), "norm"])

    def add(layer):
        nonlocal shape
        layers.append(layer)
        shape = layer.output_shape(shape)

    def add_some():
        for make in draw(st.lists(between, max_size=3)):
            layer = BatchNorm(shape[0]) if make == "norm" else make()
            if layer.kind not in ("maxpool", "avgpool") or (len(shape) == 3 and shape[1] >= 2):
                add(layer)

    add_some()
    for _ in range(draw(st.integers(0, 3))):
        kernel, padding = draw(st.sampled_from([(1, 0), (3, 1), (2, 0), (3, 0), (1, 1)]))
        if shape[1] + 2 * padding >= kernel:
            stride, bias = draw(st.integers(1, 2)), draw(st.booleans())
            add(Conv2d(shape[0], draw(st.integers(1, 6)), kernel, stride, padding, bias=bias))
            add_some()
    add(Flatten())
    for _ in range(draw(st.integers(0, 2))):
        add(Linear(shape[0], draw(st.integers(1, 8)), bias=draw(st.booleans())))
        add_some()
    add(Linear(shape[0], 3))
    network = Network(layers, (channels, side, side), dtype=np.float64)
    generator, density = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([0.02, 0.1, 0.3]))
    for array in network.state().values():
        array[...] = generator.uniform(0.2, 1, array.shape) * generator.choice([-1, 1], array.shape)
    for layer in network.layers:
        if layer.kind == "bn":
            layer.running_var[...] = abs(layer.running_var)
    for weight in network.weights:
        weight.value[generator.random(weight.value.shape) > density] = 0
    return network, generator.standard_normal((3, channels, side, side))


@given(pruned_networks())
@settings(max_examples=60)
def test_random_pruned_networks_compute_the_same(case):
    network, images = case
    small, expected = compact(network), network.predict(images)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(small.predict(images), expected, rtol=1e-9, atol=1e-9 * scale)
    assert sum(w.size for w in small.weights) <= sum(w.size for w in network.weights)
    assert sizes(compact(small)) == sizes(small)


def test_a_compacted_network_trains_on_and_its_zeros_stay(workers):
    network = npl0.load_model(next((RUNS / "main").glob("lenet5-mnist-l0-*-s0")))
    dataset = npl0.load_dataset("mnist")
    small = compact(network)
    masks = {weight.name: weight.value != 0 for weight in small.weights}
    before = [weight.value.copy() for weight in small.weights]
    images, labels = dataset.train_images[:512], dataset.train_labels[:512]
    npl0.fit(small, images, labels, npl0.FixedMask(small, masks), epochs=1, learning_rate=1e-4, quiet=True)
    for weight, old in zip(small.weights, before, strict=True):
        np.testing.assert_array_equal(weight.value != 0, old != 0)
        assert not np.array_equal(weight.value, old)
    assert npl0.count_correct(small, dataset.test_images[:1000], dataset.test_labels[:1000], workers) > 970
