"""Layers: shapes, work, messages, and what no derivative shows."""

import numpy as np
import pytest

from npl0.nn import AvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Network, ReLU, Standardise
from npl0.nn.layers import Context, he_normal
from npl0.storage.description import build_described, describe_network

# Each layer, the shape of an example, what must come out, and the multiply-adds.
LAYERS = [
    (lambda: Linear(6, 4), (6,), (4,), 24),
    (lambda: Linear(6, 4, bias=False), (6,), (4,), 24),
    (lambda: Conv2d(2, 3, 3), (2, 8, 7), (3, 6, 5), 54 * 30),
    (lambda: Conv2d(2, 3, 3, bias=False), (2, 8, 7), (3, 6, 5), 54 * 30),
    (lambda: Conv2d(2, 3, 3, 2, 1), (2, 8, 7), (3, 4, 4), 54 * 16),
    (lambda: Conv2d(2, 3, 5, algorithm="winograd"), (2, 8, 8), (3, 4, 4), 150 * 16),
    (lambda: MaxPool2d(2), (3, 7, 6), (3, 3, 3), 0),
    (lambda: AvgPool2d(3, 1), (3, 7, 6), (3, 5, 4), 0),
    (ReLU, (3, 2, 2), (3, 2, 2), 0),
    (lambda: Dropout(0.5), (7,), (7,), 0),
    (Flatten, (3, 2, 5), (30,), 0),
    (lambda: BatchNorm(3), (3, 2, 5), (3, 2, 5), 0),
    (lambda: Standardise((0.5,) * 3, (0.1,) * 3), (3, 2, 5), (3, 2, 5), 0),
]


@pytest.mark.parametrize(("make", "shape", "expected", "macs"), LAYERS)
@pytest.mark.parametrize("n", [1, 5])
def test_outputs_have_the_shape_that_was_announced(generator, dtype, make, shape, expected, macs, n):
    layer = make()
    layer.initialise(generator, dtype)
    assert layer.output_shape(shape) == expected
    assert layer.macs(shape) == macs
    x = generator.standard_normal((*shape, n)).astype(dtype)
    y, _ = layer.forward(x, Context(prepared=layer.prepare()))
    assert (y.shape, y.dtype) == ((*expected, n), dtype)
    assert y.any()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Linear(6, 4), (5,), r"Linear\(6, 4\) expects an input of shape \(6,\), but gets \(5,\)"),
        (Linear(6, 4), (2, 3), r"Linear\(6, 4\) expects an input of shape \(6,\), but gets \(2, 3\)"),
        (
            Conv2d(2, 3, 3),
            (1, 8, 8),
            r"Conv2d\(2, 3, 3\) expects .*\(2, height, width\) that holds a 3 x 3 kernel, but gets \(1, 8, 8\)",
        ),
        (Conv2d(2, 3, 5), (2, 4, 8), r"expects .*5 x 5 kernel, but gets \(2, 4, 8\)"),
        (
            MaxPool2d(3),
            (2, 2, 5),
            r"MaxPool2d\(3\) expects .*\(channels, height, width\), at least 3 x 3 pixels, but gets \(2, 2, 5\)",
        ),
        (AvgPool2d(2), (8,), r"AvgPool2d\(2\) expects an input of shape \(channels, height, width\)"),
        (BatchNorm(4), (3, 2, 2), r"BatchNorm\(4\) expects an input of shape \(4, \.\.\.\), but gets \(3, 2, 2\)"),
        (Standardise((0.5,), (1.0,)), (3, 2, 2), r"expects an input of shape \(1, \.\.\.\), but gets \(3, 2, 2\)"),
    ],
)
def test_a_shape_that_does_not_fit_is_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0, 3), "Linear: in_features must be a whole number of at least 1, not 0"),
        (lambda: Conv2d(1, 1, 3, 0), "Conv2d: stride must be a whole number of at least 1, not 0"),
        (lambda: Conv2d(1, 1, 3, padding=-1), "Conv2d: padding must be a whole number of at least 0, not -1"),
        (lambda: Conv2d(1, 2.0, 3), r"Conv2d: out_channels must be a whole number of at least 1, not 2\.0"),
        (lambda: Conv2d(1, True, 3), "out_channels must be a whole number of at least 1, not True"),
        (lambda: Conv2d(1, 1, 3, bias="no"), "Conv2d: bias must be true or false, not 'no'"),
        (lambda: Conv2d(1, 1, 3, algorithm="winogard"), "algorithm 'winogard' is unknown: did you mean 'winograd'"),
        (lambda: Dropout(1.0), r"Dropout: rate must lie in \[0, 1\), not 1\.0"),
        (lambda: MaxPool2d(17), "MaxPool2d: size must be at most 16, not 17"),
        (lambda: AvgPool2d(2, 0), "AvgPool2d: stride must be a whole number of at least 1, not 0"),
        (lambda: BatchNorm(3, 0.0), r"BatchNorm: momentum must lie in \(0, 1\], not 0\.0"),
        (
            lambda: Standardise((0.5,), (0.0,)),
            r"Standardise: each channel needs a mean in 0\.\.1 and a std above 0.*\[0\.5",
        ),
        (lambda: Standardise((0.5, 1.0), (1.0,)), "each channel needs"),
        (lambda: Standardise((), ()), "each channel needs"),
        (lambda: Standardise([np.nan], [0.5]), "each channel needs"),
        (lambda: Standardise([[0.5]], [[0.5]]), "each channel needs"),
        # The statistics of MNIST's pixels, not of pixels / 255; and a standardised image's.
        (lambda: Standardise((33.3,), (78.6,)), r"of its pixels / 255 \(see npl0\.channel_statistics\), not \[33\.3\]"),
        (lambda: Standardise(-0.1, 0.5), "each channel needs"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_first_weights_have_the_variance_that_relu_needs(generator, dtype):
    w = he_normal((300, 500), 500, generator, dtype)
    assert w.dtype == dtype
    assert w.std() == pytest.approx((2 / 500) ** 0.5, rel=0.02)
    assert abs(w.mean()) < 1e-3


@pytest.mark.parametrize(
    ("make", "shape"),
    [(lambda bias: Linear(3, 2, bias), (3, 4)), (lambda bias: Conv2d(3, 2, 3, bias=bias), (3, 5, 5, 4))],
)
def test_a_layer_without_bias_is_one_whose_bias_is_zero(generator, make, shape):
    x, results = generator.standard_normal(shape), []
    for bias in (False, True):
        layer = make(bias)
        layer.initialise(np.random.default_rng(5), np.dtype(float))
        y, cache = layer.forward(x, Context(True))
        grad_x, grads = layer.backward(np.cos(y), cache, Context(True))
        assert [parameter.kind for parameter in layer.parameters] == ["weight", "bias"][: 1 + bias]
        assert [grad.shape for grad in grads] == [parameter.value.shape for parameter in layer.parameters]
        results.append((y, grad_x, grads[0]))
    assert layer.bias is not None and make(False).bias is None
    for without, zero in zip(*results, strict=True):
        np.testing.assert_array_equal(without, zero)
        assert without.any()


def test_dropout_does_nothing_at_inference(generator):
    x = generator.standard_normal((4, 5))
    y, cache = Dropout(0.5).forward(x, Context(training=False))
    assert y is x
    assert Dropout(0.5).backward(x, cache, Context())[0] is x


def test_dropout_in_training_needs_a_generator():
    with pytest.raises(RuntimeError, match="this context has no random generator"):
        Dropout(0.5).forward(np.ones((2, 2)), Context(training=True))


def test_standardise_takes_pixels_of_any_type(generator, dtype):
    pixels = generator.integers(0, 256, (2, 3, 3, 4)).astype(np.uint8)
    layer = Standardise((0.5, 0.25), (0.5, 0.1))
    layer.initialise(generator, dtype)
    expected = (pixels / 255 - np.array([0.5, 0.25]).reshape(2, 1, 1, 1)) / np.array([0.5, 0.1]).reshape(2, 1, 1, 1)
    for x in (pixels, pixels.astype(dtype)):
        y, _ = layer.forward(x, Context())
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "sides", "algorithm", "tile"),
    [
        (8, (8, 8), "auto", 4),
        (7, (8, 8), "auto", 0),
        (32, (6, 8), "auto", 2),
        (31, (6, 8), "auto", 0),
        (32, (7, 8), "auto", 0),
        (8, (8, 8), "im2col", 0),
        (1, (8, 8), "winograd", 4),
    ],
)
def test_the_algorithm_is_chosen_by_the_shapes(channels, sides, algorithm, tile):
    layer = Conv2d(channels, 2, 3, padding=1, algorithm=algorithm)
    layer.bind((channels, *sides))
    assert layer.tile == tile


@pytest.mark.parametrize(("stride", "side"), [(2, 9), (1, 5)])
def test_winograd_is_refused_where_it_is_not_defined(stride, side):
    with pytest.raises(
        ValueError, match="conv cannot use winograd: it needs stride 1, even output sides and a kernel of 2 to 7"
    ):
        Conv2d(1, 1, 3, stride, algorithm="winograd").bind((1, side, side))


def test_both_algorithms_are_one_function(generator):
    x, grad_y = generator.standard_normal((8, 6, 6, 3)), generator.standard_normal((5, 6, 6, 3))
    results = []
    for algorithm in ("im2col", "winograd"):
        layer = Conv2d(8, 5, 3, padding=1, algorithm=algorithm)
        layer.initialise(np.random.default_rng(3), np.dtype(float))
        layer.bind((8, 6, 6))
        context = Context(True, prepared=layer.prepare())
        y, cache = layer.forward(x, context)
        grad_x, grads = layer.backward(grad_y, cache, context)
        results.append((y, grad_x, *grads))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
        assert one.any()


@pytest.mark.parametrize("shard_size", [2, 3, 5, 64])
def test_running_statistics_take_one_step_a_mini_batch_however_it_is_cut(generator, workers, shard_size):
    layer = BatchNorm(2, momentum=0.25)
    network = Network([layer, Linear(2, 3)], (2,), dtype=np.float64, shard_size=shard_size)
    images = generator.standard_normal((6, 2)) + 4
    network.loss_and_gradients(images, np.zeros(6, int), workers, (0,))
    np.testing.assert_allclose(layer.running_mean, 0.25 * images.mean(axis=0))
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * images.var(axis=0, ddof=1))


def test_a_new_statistic_has_a_weight_of_a_tenth_unless_another_is_given(generator):
    layer, x = BatchNorm(2), generator.standard_normal((2, 50)) + 4
    for expected in (0.1 * x.mean(axis=1), 0.19 * x.mean(axis=1)):
        layer.merge_statistics([layer.forward(x, Context(True))[1]])
        np.testing.assert_allclose(layer.running_mean, expected, rtol=1e-6)


def test_the_base_class_has_no_computation():
    for call in (lambda: Layer().forward(np.ones(1), Context()), lambda: Layer().backward(np.ones(1), None, Context())):
        with pytest.raises(NotImplementedError):
            call()


def test_one_number_standardises_every_channel(generator):
    x = generator.integers(0, 256, (3, 2, 5, 4)).astype(np.uint8)
    one, three = Standardise(0.4, 0.25), Standardise([0.4] * 3, [0.25] * 3)
    assert one.output_shape((3, 2, 5)) == (3, 2, 5) and repr(one) == "Standardise(0.4, 0.25)"
    np.testing.assert_array_equal(one.forward(x, Context())[0], three.forward(x, Context())[0])
    network = Network([one, Flatten(), Linear(30, 2)], (3, 2, 5))
    again = build_described(describe_network(network))
    assert again.layers[0].describe() == {"mean": 0.4, "std": 0.25}
