"""Models by name: the table is light, the shapes of others' data are taken, and what does not fit is named."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from npl0 import nn
from npl0.nn.models import find_model, model_names
from npl0.storage.description import describe_network


@pytest.mark.parametrize("name", nn.MODELS)
def test_each_model_takes_the_images_of_its_entry(name):
    model, network = nn.MODELS[name], nn.build_model(name, seed=None)
    assert (network.name, network.input_shape, network.output_shape) == (name, model.input_shape, (10,))
    assert f"{sum(weight.size for weight in network.weights):,} weights" in model.title
    if build := getattr(nn, f"build_{name}", None):
        assert describe_network(build(seed=None)) == describe_network(network)


def test_reading_the_table_loads_no_numpy():
    code = (
        "import sys, npl0.nn.models as m; m.model_names(), m.find_model('mlp:3'); "
        "assert 'numpy' not in sys.modules and 'lenet5' in m.MODELS; "
        "from npl0.nn import Conv2d; assert 'numpy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    assert {"Context", "Conv2d", "Network", "ParameterGroup", "build_model"} <= set(nn.__all__)
    for name in nn.__all__:
        value = getattr(nn, name)
        assert inspect.isclass(value) or callable(value) or name == "MODELS"


def test_models_take_other_images_and_classes(generator):
    network = nn.build_model("lenet5", input_shape=(3, 32, 32), classes=7)
    assert network.output_shape == (7,) and network.parameters[4].value.shape == (500, 50 * 5 * 5)
    assert network.layers[0].describe()["mean"] == [0.4914, 0.4822, 0.4465]
    assert network.predict(generator.integers(0, 256, (2, 3, 32, 32), np.uint8)).any()
    assert nn.build_model("vgg16", width=0.1, input_shape=(1, 64, 64)).output_shape == (10,)
    two = nn.build_model("lenet300", input_shape=[2, 5], mean=[0.1, 0.2], std=[1, 0.2], classes=2, shard_size=8)
    assert (two.input_shape, two.weights[0].value.shape, two.shard_size) == ((2, 5), (300, 10), 8)
    # What is given is used, the other is the default.
    assert nn.build_model("lenet5", mean=[0.25]).layers[0].describe() == {"mean": [0.25], "std": [0.3081]}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "vgg16",
            {"input_shape": (1, 28, 28)},
            r"vgg16 with images of shape \(1, 28, 28\): MaxPool2d\(2\) expects .*\(512, 1, 1\)",
        ),
        (
            "lenet5",
            {"input_shape": (1, 8, 8)},
            r"lenet5 with .*: Conv2d\(20, 50, 5\) expects .*, but gets \(20, 2, 2\)",
        ),
        ("lenet5", {"input_shape": (3,)}, r"Conv2d\(3, 20, 5\) expects .*\(3, height, width\).*, but gets \(3,\)"),
        ("lenet5", {"input_shape": (2, 28, 28)}, "images of 2 channels need a mean and a std, of 2 numbers each"),
        (
            "lenet5",
            {"mean": (0.1, 0.2), "std": (1, 1)},
            r"layer 1 \(Standardise\): .*\(2, \.\.\.\), but gets \(1, 28, 28\)",
        ),
        ("lenet5", {"classes": 0}, "Linear: out_features must be a whole number of at least 1, not 0"),
        ("lenet5", {"conv": "fft"}, "algorithm 'fft' is unknown"),
        ("mlp:", {}, r"model 'mlp:' needs the sizes of its hidden layers, each at least 1, as in mlp:300-100"),
        ("mlp:0", {}, "model 'mlp:0' needs the sizes"),
        ("mlp:a", {}, "model 'mlp:a' needs the sizes"),
        ("mlp:3-", {}, "model 'mlp:3-' needs the sizes"),
        ("mlp:3\n", {}, "needs the sizes"),
        ("mlp", {}, "model 'mlp' is unknown: use one of lenet5, lenet300, .*mlp:300-100"),
        ("lenet6", {}, "model 'lenet6' is unknown: did you mean 'lenet5'"),
        ("mlp:3", {"width": 2}, "width = 2 is for vgg16; mlp:3 has one size: leave width at 1"),
    ],
)
def test_what_a_model_cannot_be_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        nn.build_model(name, **settings)


def test_a_perceptron_of_any_sizes():
    network = nn.build_model("mlp:300-100", seed=5)
    assert network.name == "mlp:300-100" == model_names()[-1]
    for mine, other in zip(network.parameters, nn.build_lenet300(seed=5).parameters, strict=True):
        np.testing.assert_array_equal(mine.value, other.value)
    one = nn.build_model("mlp:4", input_shape=(3, 2, 2), classes=2)
    assert [weight.value.shape for weight in one.weights] == [(4, 12), (2, 4)]
    assert not find_model("mlp:4").scalable
