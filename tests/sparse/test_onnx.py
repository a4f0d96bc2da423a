"""ONNX: other programs compute what npl0 computes."""

from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.nn import AvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Network, ReLU, Standardise
from npl0.sparse import ExportError, to_onnx

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx, the extra export")

RUNS = Path(__file__).parents[2] / "experiments" / "results" / "main"


def logits_of(content, images):
    """Return what ONNX Runtime computes."""
    runtime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(content, options)
    return session.run(["logits"], {"pixels": images.astype(np.float32)})[0]


def trained(network, generator):
    """Give a network weights, statistics and zeros as training and pruning leave them."""
    for name, array in network.state().items():
        if not name.startswith("standardise"):
            array[...] = generator.normal(0, 1 / np.sqrt(max(1, array[0].size)), array.shape)
        if name.endswith(("scale", "running_var")):
            array[...] = generator.uniform(0.5, 2, array.shape)
    for weight in network.weights:
        weight.value[generator.random(weight.value.shape) < 0.5] = 0
    return network


def vgg_like(generator):
    layers = [Standardise([0.3, 0.6, 0.4], [0.2, 0.4, 0.3])]
    for inputs, outputs in ((3, 16), (16, 16), (16, 24)):
        layers += [Conv2d(inputs, outputs, 3, padding=1, bias=False), BatchNorm(outputs), MaxPool2d(2), ReLU()]
    layers += [Conv2d(24, 8, 2, stride=2, padding=1), ReLU(), BatchNorm(8), AvgPool2d(3, 1), Flatten(), Dropout(0.5)]
    return trained(Network([*layers, Linear(8, 10)], (3, 32, 32), "small-vgg"), generator)


def test_the_stored_lenet5_classifies_in_onnxruntime_as_here():
    network = npl0.load_model(RUNS / "lenet5-mnist-l0-750ccc39-s0")
    content, images = to_onnx(network), npl0.load_dataset("mnist").test_images[:1000]
    found, expected = logits_of(content, images), network.predict(images)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    # Compacted: the dense network takes 1.7 MB.
    assert len(content) < 300_000
    assert len(logits_of(content, images[:1])) == 1


def test_a_network_with_batch_norms_computes_the_same(generator):
    network, images = vgg_like(generator), generator.integers(0, 256, (1000, 3, 32, 32), np.uint8)
    content, expected = to_onnx(network), network.predict(images)
    found = logits_of(content, images)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert sum(node.op_type == "BatchNormalization" for node in onnx.load_from_string(content).graph.node) == 1


def test_a_network_without_images_or_standardisation(generator):
    network = trained(Network([Linear(7, 5, bias=False), ReLU(), Linear(5, 3)], (7,)), generator)
    x = generator.normal(size=(20, 7)).astype(np.float32)
    np.testing.assert_allclose(logits_of(to_onnx(network), x), network.predict(x), atol=1e-6)


class Square(npl0.Layer):
    """A layer of a user's own."""

    def forward(self, x, context):
        return x**2, None


def test_a_layer_that_the_format_cannot_hold_is_named():
    with pytest.raises(ExportError, match=r"layer1 is a Square, and model.onnx .*model.npz holds any network"):
        to_onnx(Network([Flatten(), Square(), Linear(4, 2)], (1, 2, 2)))


def test_without_the_package_the_command_that_installs_it_is_shown(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(npl0.Npl0Error, match=r"this needs onnx, of the extra `export`: pip install onnx"):
        to_onnx(Network([Linear(3, 2)], (3,)))
