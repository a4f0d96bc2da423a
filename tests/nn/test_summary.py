"""What `print(network)` shows."""

import re

from npl0 import nn


def test_a_network_shows_its_layers():
    network = nn.build_lenet5()
    assert repr(network) == "Network('lenet5', (1, 28, 28) -> 10, 430,500 weights)"
    lines = str(network).splitlines()
    assert lines[0] == repr(network)
    assert lines[2].split() == ["layer", "output", "weights", "biases", "MACs", "convolution"]
    assert re.split(" {2,}", lines[5]) == [
        "conv1",
        "Conv2d(1, 20, 5)",
        "20 x 24 x 24",
        "500",
        "20",
        "288,000",
        "im2col",
    ]
    assert lines[7].split() == ["relu1", "ReLU()", "20", "x", "12", "x", "12"]
    assert lines[8].endswith("winograd F(4x4,5x5)")
    assert lines[-1].split() == ["all", "430,500", "580", "2,293,000"]


def test_kept_weights_have_a_column_once_some_are_zero():
    network = nn.build_lenet5()
    network.weights[0].value[:5] = 0
    lines = str(network).splitlines()
    assert lines[2].split()[2:4] == ["weights", "kept"]
    assert re.split(" {2,}", lines[5])[3:5] == ["500", "375"]
    assert lines[-1].split()[1:3] == ["430,500", "430,375"]


def test_repr_of_a_network_and_a_parameter_is_one_line():
    assert repr(nn.Network([nn.ReLU()], (3, 2, 2))) == "Network('network', (3, 2, 2) -> (3, 2, 2), 0 weights)"
    assert repr(nn.build_lenet5().parameters[0]) == "Parameter(conv1.weight, shape (20, 1, 5, 5), float32)"
