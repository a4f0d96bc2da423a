"""Prediction by the kept weights alone."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.runtime.threads import Workers
from npl0.sparse import SparseNetwork

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
LENET5 = RESULTS / "main" / "lenet5-mnist-l0-750ccc39-s0"


def exact(network, images):
    """Return the logits in float64."""
    layers = copy.deepcopy(network.layers)
    for layer in layers:
        layer.name = ""
        for name, value in vars(layer).items():
            if isinstance(value, npl0.nn.Parameter):
                setattr(layer, name, npl0.nn.Parameter(value.value.astype(np.float64), value.kind))
    double = npl0.Network(layers, network.input_shape, seed=None, dtype=np.float64)
    for layer in double.layers:
        if isinstance(layer, npl0.Standardise):
            layer.dtype = np.dtype(np.float64)
    return double.predict(images)


@pytest.fixture(scope="module")
def lenet5():
    return npl0.load_model(LENET5)


@pytest.fixture(scope="module")
def digits():
    return npl0.load_dataset("mnist").test_images


def test_lenet5_predicts_the_same(lenet5, digits):
    sparse = SparseNetwork(lenet5)
    logits, right = sparse.predict(digits[:1000]), exact(lenet5, digits[:1000])
    assert np.abs(logits - right).max() < 2e-5 * np.abs(right).max()
    np.testing.assert_array_equal(logits.argmax(axis=1), right.argmax(axis=1))
    assert sparse.macs == 204_717


@pytest.mark.parametrize("n", [0, 1, 3, 4, 7, 8, 65, 131])
def test_any_number_of_images_on_any_number_of_threads(lenet5, digits, n):
    sparse = SparseNetwork(lenet5)
    logits = sparse.predict(digits[:n])
    assert logits.shape == (n, 10)
    with Workers(3) as workers:
        np.testing.assert_array_equal(sparse.predict(digits[:n], workers), logits)
    np.testing.assert_allclose(logits, lenet5.predict(digits[:n]), atol=1e-3)


# Maps whose sides are no multiples of a tile, all that can follow a layer, and layers that stay dense in between.
NETWORKS = {
    "one pixel more": lambda: [
        npl0.Conv2d(2, 6, 3),
        npl0.ReLU(),
        npl0.MaxPool2d(2),
        npl0.Flatten(),
        npl0.Linear(96, 4),
    ],
    "pooling before relu": lambda: [
        *(npl0.Conv2d(2, 6, 2, padding=1), npl0.MaxPool2d(2), npl0.ReLU(), npl0.Conv2d(6, 4, 4), npl0.Flatten()),
        npl0.Linear(16, 4),
    ],
    "dense in between": lambda: [
        *(npl0.Standardise(0.4, 0.2), npl0.Conv2d(2, 6, 3, padding=2), npl0.ReLU(), npl0.AvgPool2d(2)),
        *(npl0.Conv2d(6, 8, 3, stride=2), npl0.BatchNorm(8), npl0.MaxPool2d(2, 1), npl0.Dropout(0.5)),
        *(npl0.Conv2d(8, 5, 1), npl0.Flatten(), npl0.Linear(5, 4)),
    ],
    "flat at once": lambda: [
        npl0.Standardise(0.4, 0.2),
        npl0.Flatten(),
        npl0.Linear(162, 9),
        npl0.ReLU(),
        npl0.Linear(9, 4),
    ],
    "dense at both ends": lambda: [
        npl0.MaxPool2d(3),
        npl0.Conv2d(2, 4, 2),
        npl0.Flatten(),
        npl0.Linear(16, 3),
        npl0.BatchNorm(3),
    ],
    "standardised inside": lambda: [npl0.AvgPool2d(3), npl0.Standardise(0.4, 0.2), npl0.Flatten(), npl0.Linear(18, 4)],
    "nothing sparse": lambda: [npl0.Standardise(0.4, 0.2), npl0.AvgPool2d(3), npl0.Flatten()],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [2, 21])
def test_other_networks(generator, name, n):
    network = npl0.Network(NETWORKS[name](), (2, 10, 11) if name == "one pixel more" else (2, 9, 9))
    for weight in network.weights:
        weight.value = weight.value * (generator.random(weight.value.shape) < 0.5)
    images = generator.integers(0, 256, (n, *network.input_shape)).astype(np.uint8)
    right, sparse = network.predict(images), SparseNetwork(network)
    for each in (sparse, copy.deepcopy(sparse), pickle.loads(pickle.dumps(sparse))):
        np.testing.assert_allclose(each.predict(images), right, rtol=1e-4, atol=1e-4 * np.abs(right).max())
    np.testing.assert_array_equal(sparse.predict(images.astype(np.float64)), sparse.predict(images))


def test_wrong_images_are_refused(lenet5):
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 28, 28\), not \(2, 28, 28\)"):
        SparseNetwork(lenet5).predict(np.zeros((2, 28, 28), np.uint8))
