"""Networks as plain values: every layer comes back, one's own too, and what does not fit is named."""

import json

import numpy as np
import pytest

from npl0 import nn
from npl0.gradcheck.checks import LAYERS as CHECKED
from npl0.storage.description import build_described, describe_network, layer_classes

# Every public layer with arguments other than the defaults, and the shape of an example.
LAYERS = [
    (
        nn.Conv2d(2, 3, 3, 2, 1, "im2col", bias=False),
        (2, 8, 8),
        "Conv2d(2, 3, 3, stride=2, padding=1, algorithm='im2col', bias=False)",
    ),
    (nn.Conv2d(20, 50, 5), (20, 12, 12), "Conv2d(20, 50, 5)"),
    (nn.Linear(6, 4, bias=False), (6,), "Linear(6, 4, bias=False)"),
    (nn.Linear(np.int64(6), 4), (6,), "Linear(6, 4)"),
    (nn.BatchNorm(3, momentum=0.25), (3, 2, 2), "BatchNorm(3, momentum=0.25)"),
    (nn.MaxPool2d(2), (3, 4, 4), "MaxPool2d(2)"),
    (nn.MaxPool2d(3, 2), (3, 5, 5), "MaxPool2d(3, stride=2)"),
    (nn.AvgPool2d(), (3, 5, 5), "AvgPool2d(2)"),
    (nn.ReLU(), (3,), "ReLU()"),
    (nn.Flatten(), (3, 2, 2), "Flatten()"),
    (nn.Dropout(0.3), (3,), "Dropout(0.3)"),
    (nn.Standardise((0.1, 0.2), [0.3, 0.4]), (2, 3), "Standardise([0.1, 0.2], [0.3, 0.4])"),
]


def test_every_public_layer_is_described():
    public = {name for name, layer_class in layer_classes().items() if getattr(nn, name, None) is layer_class}
    # The layers of the gradient checks, among which every layer is, and those of this file, whose `repr` is tested too.
    layers = [make() for make, *_ in CHECKED.values()] + [layer for layer, *_ in LAYERS]
    for layer in layers:
        assert type(layer)(**layer.describe()).describe() == layer.describe()
    assert {type(layer).__name__ for layer in layers} == public
    assert {"Conv2d", "ReLU", "Standardise"} <= public and not {"Layer", "Network", "Affine"} & layer_classes().keys()


@pytest.mark.parametrize(("layer", "shape", "shown"), LAYERS, ids=lambda value: str(value)[:20])
def test_a_layer_comes_back_from_its_description(layer, shape, shown):
    assert repr(layer) == shown
    arguments = layer.describe()
    assert json.loads(json.dumps(arguments)) == arguments
    again = type(layer)(**arguments)
    assert again.describe() == arguments and repr(again) == shown
    network = build_described({"input_shape": shape, "layers": [{"layer": type(layer).__name__, **arguments}]})
    assert network.layers[0].describe() == arguments and network.output_shape == layer.output_shape(shape)
    assert [p.value.shape for p in network.parameters] == [p.value.shape for p in layer.parameters]


def test_weights_are_drawn_only_with_a_seed():
    network = nn.build_model("lenet300", seed=4)
    description = json.loads(json.dumps(describe_network(network)))
    blank, drawn = (build_described(description, seed=seed) for seed in (None, 4))
    assert describe_network(blank) == describe_network(drawn) == description
    assert not any(weight.value.any() for weight in blank.weights)
    for mine, other in zip(network.weights, drawn.weights, strict=True):
        np.testing.assert_array_equal(mine.value, other.value)
    # Arrays of float64 are only made by the initialisation.
    double = build_described({**description, "dtype": "float64"})
    assert {p.value.dtype for p in double.parameters} == {np.dtype(np.float64)}


TOML = {
    "input_shape": [1, 28, 28],
    "layers": [
        {"layer": "Standardise"},
        {"layer": "Conv2d", "out_channels": 4, "kernel_size": 5},
        {"layer": "BatchNorm"},
        {"layer": "MaxPool2d", "size": 2},
        {"layer": "ReLU"},
        {"layer": "Flatten"},
        {"layer": "Linear", "out_features": 10},
    ],
}


def test_a_description_by_hand_may_leave_out_what_follows(generator):
    network = build_described(TOML, seed=1, mean=[0.2], std=(0.5,))
    assert [repr(layer) for layer in network.layers] == [
        "Standardise([0.2], [0.5])",
        "Conv2d(1, 4, 5)",
        "BatchNorm(4)",
        "MaxPool2d(2)",
        "ReLU()",
        "Flatten()",
        "Linear(576, 10)",
    ]
    assert (network.name, network.shard_size, network.dtype) == ("network", 64, np.float32)
    assert network.predict(generator.integers(0, 256, (2, 1, 28, 28), np.uint8)).any()
    # Nothing that is given is replaced.
    given = {"input_shape": [2, 4], "layers": [{"layer": "Standardise", "mean": [0.1, 0.1], "std": [1, 1]}]}
    layer = build_described(given, mean=[0.9, 0.9], std=[9, 9]).layers[0]
    assert layer.describe() == {"mean": [0.1, 0.1], "std": [1, 1]}


def replaced(number, **entry):
    """Return the description with another entry at a place, counted from 1."""
    layers = list(TOML["layers"])
    layers[number - 1] = entry
    return {**TOML, "layers": layers}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (replaced(2, layer="Conv2D"), r"layer 2 \(Conv2D\): this layer is unknown: did you mean 'Conv2d'"),
        (replaced(5, layer="relu"), r"layer 5 \(relu\): this layer is unknown: did you mean 'ReLU'"),
        (replaced(2, layer="Network"), r"layer 2 \(Network\): this layer is unknown"),
        (replaced(2, layer="Layer"), r"layer 2 \(Layer\): this layer is unknown"),
        (replaced(2, layer=3), r"layer 2 \(3\): this layer is unknown"),
        (
            replaced(2, layer="Conv2d", out_channels=4, kernel_sise=5),
            r"layer 2 \(Conv2d\): argument 'kernel_sise' is unknown: did you mean 'kernel_size'\?",
        ),
        (replaced(5, layer="ReLU", slope=1), r"layer 5 \(ReLU\): argument 'slope' is unknown: it takes none"),
        (replaced(2, layer="Conv2d"), r"layer 2 \(Conv2d\): give it out_channels and kernel_size"),
        (replaced(2, layer="Conv2d", out_channels="4", kernel_size=5), r"layer 2 .*out_channels must be .*, not '4'"),
        (replaced(2, layer="Conv2d", out_channels=0, kernel_size=5), r"layer 2 .*out_channels must be .*, not 0"),
        (replaced(2, layer="Conv2d", out_channels=4, kernel_size=[5]), r"layer 2 .*kernel_size must be .*, not \[5\]"),
        (
            replaced(2, layer="Conv2d", out_channels=4, kernel_size=29),
            r"layer 2 .*29 x 29 kernel, but gets \(1, 28, 28\)",
        ),
        (replaced(5, layer="Dropout", rate="x"), r"layer 5 \(Dropout\): "),
        (replaced(7, layer="Linear", in_features=500, out_features=10), r"layer 7 .*shape \(500,\), but gets \(576,\)"),
        (replaced(6, layer="ReLU"), r"layer 7 \(Linear\): .*shape \(576,\), but gets \(4, 12, 12\)"),
        (
            replaced(1, layer="Standardise", mean=[0.5, 0.5], std=[1, 1]),
            r"layer 1 .*shape \(2, \.\.\.\), but gets \(1, 28, 28\)",
        ),
        (
            {**TOML, "input_shape": [28, 28, 1]},
            r"layer 1 \(Standardise\): .*shape \(1, \.\.\.\), but gets \(28, 28, 1\)",
        ),
        ({**TOML, "input_shape": [1, 0, 28]}, "input_shape: size 2 must be a whole number of at least 1, not 0"),
        ({**TOML, "input_shape": []}, r"input_shape must be sizes like \(1, 28, 28\), not \[\]"),
        ({"layers": TOML["layers"]}, "input_shape must be sizes like .*, not None"),
        ({**TOML, "layers": []}, "a network needs at least one layer"),
        ({**TOML, "layers": ["ReLU"]}, "layers must be a list of entries like"),
        ({**TOML, "layers": [{"size": 2}]}, "layers must be a list of entries like"),
        ({"input_shape": [1, 28, 28]}, "layers must be a list of entries like"),
        ({**TOML, "layer": []}, "a network has no 'layer': did you mean 'layers'"),
        ({**TOML, "shard_size": "x"}, "shard_size must be a whole number of at least 1, not 'x'"),
        ({**TOML, "dtype": "float33"}, "dtype must be float32 or float64, not float33"),
    ],
)
def test_a_description_that_fits_nothing_is_refused(description, message):
    with pytest.raises(ValueError, match=message):
        build_described(description, mean=[0.1], std=[0.3])


def test_a_standardisation_without_statistics_is_refused():
    with pytest.raises(ValueError, match=r"layer 1 \(Standardise\): give it mean and std"):
        build_described(TOML)


class Scale(nn.Layer):
    """A user's own layer: y = factor x, with a weight per value."""

    kind = "scale"

    def __init__(self, features: int, factor: float = 1.0, flags: tuple[int, ...] = (), bias: bool = True) -> None:
        self.features, self.factor, self.flags = features, factor, flags
        self.weight = nn.Parameter(np.zeros((features, 1), np.float32), "weight")
        self.bias = nn.Parameter(np.zeros(features, np.float32), "bias") if bias else None

    @property
    def parameters(self):
        return (self.weight,)

    def forward(self, x, context):
        return self.factor * x, None


@pytest.mark.parametrize("bias", [True, False])
def test_ones_own_layer_comes_back(bias):
    network = nn.Network([Scale(3, np.float32(0.5), ((1, 2),), bias)], (3,), seed=None)
    described = {"layer": "Scale", "features": 3, "factor": 0.5, "flags": [[1, 2]], "bias": bias}
    assert describe_network(network)["layers"] == [described]
    (layer,) = build_described(describe_network(network)).layers
    assert isinstance(layer, Scale) and layer.factor == 0.5 and (layer.bias is not None) == bias
    assert repr(Scale(3, 0.5)) == "Scale(3, factor=0.5, flags=[])"


class Forgetful(Scale):
    def __init__(self, size: int) -> None:
        super().__init__(size)


class Unplain(Scale):
    def __init__(self, features: int, function=np.tanh) -> None:
        super().__init__(features)
        self.function = function


class Described(Unplain):
    """It says itself what its arguments are."""

    def describe(self):
        return {"features": self.features}


ReLUAgain = type("ReLU", (Scale,), {})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Forgetful(3),
            r"layer 2 \(Forgetful\): .* does not keep its argument 'size': set self\.size to a plain value",
        ),
        (
            Unplain(3),
            r"layer 2 \(Unplain\): Unplain has no JSON form of <ufunc 'tanh'>, its 'function': .*override describe\(\)",
        ),
        (Scale(3, np.nan), r"layer 2 \(Scale\): Scale has no JSON form of nan, its 'factor'"),
    ],
)
def test_a_layer_that_could_not_be_stored_is_refused_at_once(layer, message):
    with pytest.raises(ValueError, match=message):
        nn.Network([nn.ReLU(), layer], (3,))
    assert repr(layer).startswith(type(layer).__name__)


def test_a_layer_with_the_name_of_another_is_not_stored():
    with pytest.raises(ValueError, match=r"scale1: npl0\.nn has a class ReLU already; rename yours"):
        describe_network(nn.Network([ReLUAgain(3)], (3,)))


def test_a_layer_may_describe_itself():
    network = nn.Network([Described(3, np.sinh)], (3,), seed=None)
    assert describe_network(network)["layers"] == [{"layer": "Described", "features": 3}]
    assert build_described(describe_network(network)).layers[0].function is np.tanh
