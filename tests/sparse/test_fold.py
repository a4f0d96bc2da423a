"""Folding batch norm: the same function, fewer layers, nothing of the network it came from touched."""

import numpy as np
import pytest

import npl0
from npl0.nn import BatchNorm, Conv2d, Flatten, Linear, Network, ReLU
from npl0.sparse import fold_batchnorm


def in_use(network, generator):
    """Give every batch norm statistics, scales of both signs and shifts; prune half of the weights; return it."""
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            size = layer.scale.size
            layer.running_mean[...] = generator.standard_normal(size)
            layer.running_var[...] = generator.uniform(0.2, 3, size)
            layer.scale.value[...] = generator.uniform(0.5, 1.5, size) * generator.choice([-1, 1], size)
            layer.shift.value[...] = generator.standard_normal(size)
    for weight in network.weights:
        weight.value[generator.random(weight.value.shape) < 0.5] = 0
    return network


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_a_folded_vgg16_predicts_the_same(generator, tmp_path, kind, tolerance):
    network = in_use(npl0.build_vgg16(width=0.25, dtype=kind), generator)
    images = generator.integers(0, 256, (5, 3, 32, 32), np.uint8)
    expected = network.predict(images)
    before = {name: value.copy() for name, value in network.state().items()}
    folded = fold_batchnorm(network)
    found = folded.predict(images)
    assert found.dtype == kind and np.ptp(expected) > 0.1
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert (folded.name, folded.shard_size) == (network.name, network.shard_size)

    # Only the 14 batch norms are gone, what was pruned still is, and every linear map has a bias now.
    assert [layer.name for layer in folded.layers] == [layer.name for layer in network.layers if layer.kind != "bn"]
    for mine, other in zip(folded.weights, network.weights, strict=True):
        np.testing.assert_array_equal(mine.value == 0, other.value == 0)
    rows = list(folded.summary())
    assert (sum(row.weights for row in rows), sum(row.biases for row in rows)) == (937_392, 1_194)

    # It is a network like any other for the model file, and the old one was not touched.
    npl0.save_model(tmp_path / "folded.npz", folded)
    np.testing.assert_array_equal(npl0.load_model(tmp_path / "folded.npz").predict(images), found)
    for value in folded.state().values():
        value[...] = 0
    for name, value in network.state().items():
        np.testing.assert_array_equal(value, before[name])


def test_biases_and_several_norms_in_a_row_are_folded(generator):
    layers = [Conv2d(2, 3, 3), BatchNorm(3), ReLU(), Flatten(), Linear(12, 4), BatchNorm(4), BatchNorm(4)]
    network = in_use(Network(layers, (2, 4, 4), dtype=np.float64), generator)
    for layer in (layers[0], layers[4]):
        layer.bias.value[...] = generator.standard_normal(layer.bias.size)
    images = generator.standard_normal((6, 2, 4, 4))
    folded = fold_batchnorm(network)
    assert [layer.kind for layer in folded.layers] == ["conv", "relu", "flatten", "fc"]
    np.testing.assert_allclose(folded.predict(images), network.predict(images), rtol=1e-10)


def test_a_norm_behind_another_layer_stays(generator):
    layers = [BatchNorm(2), Conv2d(2, 3, 3), ReLU(), BatchNorm(3), Flatten(), Linear(12, 4)]
    network = in_use(Network(layers, (2, 4, 4), dtype=np.float64), generator)
    images = generator.standard_normal((6, 2, 4, 4))
    folded = fold_batchnorm(network)
    assert [layer.name for layer in folded.layers] == ["bn1", "conv1", "relu1", "bn2", "flatten1", "fc1"]
    np.testing.assert_array_equal(folded.predict(images), network.predict(images))


def test_a_network_without_norms_comes_back_bit_for_bit(generator):
    network = npl0.build_lenet5(seed=3)
    images = generator.integers(0, 256, (3, 1, 28, 28), np.uint8)
    np.testing.assert_array_equal(fold_batchnorm(network).predict(images), network.predict(images))
