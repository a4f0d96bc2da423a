"""Convolution by the kept weights, and layers that train with them, against the dense ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npl0
from npl0.nn import Conv2d, Linear
from npl0.ops import conv
from npl0.runtime.threads import Workers
from npl0.sparse.convolution import LANES, Taps, convolve_kernel, weight_gradient_kernel
from npl0.sparse.layers import TRAINING, SparseConv2d, SparseLinear, sparse_layer, sparse_retraining


def convolved(x, w, mask, bias, padding, y_shape, floor=-np.inf, pool=1, turned=False):
    """Call the kernel in new scratch arrays, full of NaN."""
    taps = Taps.of(mask, turned)
    scratch = [np.full(size, np.nan) for size in taps.scratch]
    y = np.full(y_shape, np.nan)
    kept = w.take(taps.index)
    convolve_kernel(x, kept, *taps.arrays, bias, taps.size, padding, np.float64(floor), pool, False, *scratch, y)
    return y


@settings(max_examples=60)
@given(st.data())
def test_the_kernels_equal_the_dense_operations(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    size, padding, channels, filters = draw(1, 5), draw(0, 3), draw(1, 40), draw(1, 6)
    height, width, images = size + draw(0, 9), size + draw(0, 9), draw(1, 2 * LANES + 1)
    generator = np.random.default_rng(draw(0, 1000))
    mask = generator.random((filters, channels, size, size)) < data.draw(st.sampled_from((0, 0.1, 0.5, 1)))
    x, b = generator.standard_normal((channels, height, width, images)), generator.standard_normal(filters)
    w = generator.standard_normal(mask.shape) * mask
    y, cols = conv.conv2d_forward(x, w, b, 1, padding)
    np.testing.assert_allclose(convolved(x, w, mask, b, padding, y.shape), y, atol=1e-12)
    if min(y.shape[1:3]) > 1:
        h, v = (side // 2 for side in y.shape[1:3])
        pooled = np.maximum(y[:, : 2 * h, : 2 * v].reshape(filters, h, 2, v, 2, images).max(axis=(2, 4)), 0)
        np.testing.assert_allclose(convolved(x, w, mask, b, padding, pooled.shape, 0, 2), pooled, atol=1e-12)

    grad_y = generator.standard_normal(y.shape)
    grad_x, grad_w = conv.conv2d_backward(grad_y, cols, w, x.shape, 1, padding)
    turned = convolved(grad_y, w, mask, np.zeros(channels), size - 1 - padding, x.shape, turned=True)
    np.testing.assert_allclose(turned, grad_x, atol=1e-12)
    taps = Taps.of(mask)
    totals, scratch = np.full((mask.sum(), LANES), np.nan), [np.full(n, np.nan) for n in taps.scratch]
    weight_gradient_kernel(x, grad_y, *taps.arrays, size, padding, *scratch, totals)
    np.testing.assert_allclose(totals.sum(axis=1), grad_w.take(taps.index), atol=1e-11)


def test_taps_name_every_kept_weight_once(generator):
    mask = generator.random((30, 100, 3, 3)) < 0.4
    taps, turned = Taps.of(mask), Taps.of(mask, turned=True)
    assert len(taps.first) > 1  # several groups of channels
    for each in (taps, turned):
        np.testing.assert_array_equal(np.sort(each.index), np.flatnonzero(mask))
        assert each.first[-1, -1] == mask.sum()
    mask[:, 5:] = False
    np.testing.assert_array_equal(Taps.of(mask).used, np.arange(5))


@pytest.mark.parametrize(
    ("layer", "density", "kind"),
    [
        (Linear(40, 30), 0.1, SparseLinear),
        (Linear(40, 30), 0.5, Linear),
        (Conv2d(2, 8, 3), 0.8, SparseConv2d),
        (Conv2d(2, 8, 3, stride=2), 0.1, Conv2d),
        (Conv2d(8, 8, 3, algorithm="winograd"), 0.1, SparseConv2d),
        (Conv2d(8, 8, 3, algorithm="winograd"), 0.5, Conv2d),
    ],
)
def test_a_layer_computes_sparsely_where_that_pays(generator, layer, density, kind):
    layer.bind((layer.weight.value.shape[1], 10, 10) if isinstance(layer, Conv2d) else (40,))
    mask = generator.random(layer.weight.value.shape) < density
    assert type(sparse_layer(layer, mask, TRAINING)) is kind


def pruned_network():
    """A small VGG with everything: Winograd, batch norm, pooling, dropout."""
    layers = [
        *(npl0.Standardise(0.5, 0.3), npl0.Conv2d(1, 8, 3, padding=1, bias=False), npl0.BatchNorm(8), npl0.ReLU()),
        *(npl0.Conv2d(8, 12, 3, padding=1), npl0.ReLU(), npl0.MaxPool2d(2), npl0.Dropout(0.2), npl0.Flatten()),
        *(npl0.Linear(12 * 14 * 14, 20), npl0.ReLU(), npl0.Linear(20, 10)),
    ]
    network = npl0.Network(layers, (1, 28, 28), "small", shard_size=48)
    npl0.Magnitude(network, criterion="layer-std", compression=8).finalise()
    return network


@pytest.fixture(scope="module")
def data():
    return npl0.load_dataset("synthetic")


def retrained(monkeypatch, data, sparse, threads):
    """Retrain for two epochs; return the network and the rows."""
    if not sparse:
        monkeypatch.setattr("npl0.sparse.layers.sparse_layer", lambda layer, *_: layer)
    network = pruned_network()
    train = data.train_images[:300], data.train_labels[:300]
    rows = npl0.fit(
        network, *train, npl0.FixedMask(network), epochs=2, batch_size=100, quiet=True, threads=threads, optimizer="sgd"
    )
    monkeypatch.undo()
    return network, rows


def test_retraining_with_kept_weights_equals_dense_retraining(monkeypatch, data):
    dense, dense_rows = retrained(monkeypatch, data, False, 2)
    sparse, rows = retrained(monkeypatch, data, True, 2)
    again, _ = retrained(monkeypatch, data, True, 1)
    assert rows[-1].loss == pytest.approx(dense_rows[-1].loss, rel=1e-4)
    assert rows[-1].loss != dense_rows[-1].loss  # it took the other way
    for one, other, repeated in zip(sparse.parameters, dense.parameters, again.parameters, strict=True):
        np.testing.assert_allclose(one.value, other.value, atol=2e-4)
        np.testing.assert_array_equal(one.value, repeated.value)
    for weight in sparse.weights:
        assert weight.grad.shape == weight.value.shape


def test_layers_and_gradients_are_dense_again_after_an_error(data):
    network = pruned_network()
    layers, pruner = network.layers, npl0.FixedMask(network)
    with pytest.raises(KeyboardInterrupt), sparse_retraining(pruner), Workers():
        assert any(isinstance(layer, SparseConv2d) for layer in network.layers)
        raise KeyboardInterrupt
    assert network.layers is layers
    assert all(weight.grad.shape == weight.value.shape for weight in network.weights)
    dense = npl0.Pruner(network)
    with sparse_retraining(dense):
        assert network.layers == layers
