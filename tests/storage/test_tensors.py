"""safetensors files: npl0's own come back as networks, those of other programs as weights; bad ones are told."""

import json
from itertools import pairwise

import numpy as np
import pytest

import npl0
from npl0.nn import BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, Network, ReLU, Standardise

tensors = pytest.importorskip("safetensors.numpy", reason="the package safetensors, the extra export, is not installed")


def small(dtype=np.float32):
    layers = [Standardise(0.1, 0.3), Conv2d(1, 4, 3, bias=False), BatchNorm(4), ReLU(), Conv2d(4, 4, 3), MaxPool2d(2)]
    return Network([*layers, Flatten(), Linear(16, 12), ReLU(), Linear(12, 3)], (1, 8, 8), "small", seed=3, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_network_comes_back_with_all_that_is_known_of_it(tmp_path, dtype):
    network, path = small(dtype), tmp_path / "small.safetensors"
    network.weights[0].value[:2] = 0
    npl0.save_model(path, network, classes=["a", "b", "ä"], settings={"data": "mnist"})
    stored = npl0.load_model(path)
    assert (stored.name, stored.dtype, stored.header["classes"]) == ("small", dtype, ["a", "b", "ä"])
    assert stored.header["settings"] == {"data": "mnist"}
    for name, array in network.state().items():
        np.testing.assert_array_equal(stored.state()[name], array, name)
    # Other programs find the arrays under their names.
    found = tensors.load_file(path)
    assert found.keys() == network.state().keys()
    np.testing.assert_array_equal(found["conv1.weight"], network.weights[0].value)


def state_dict(network, names):
    """Return the arrays of a network as PyTorch would store them, with these names of the layers with arrays."""
    arrays = {}
    layers = [layer for layer in network.layers if layer.parameters]
    for layer, name in zip(layers, names, strict=True):
        for parameter in layer.parameters:
            part = {"scale": "weight", "shift": "bias"}.get(parameter.kind, parameter.kind)
            arrays[f"{name}.{part}"] = parameter.value.copy()
        arrays |= {f"{name}.{buffer}": value.copy() for buffer, value in layer.buffers.items()}
        if layer.buffers:
            arrays[f"{name}.num_batches_tracked"] = np.array(7)
    return arrays


@pytest.mark.parametrize(
    "names",
    [
        ["conv1", "bn1", "conv2", "fc1", "fc2"],
        ["features.0", "features.1", "features.10", "classifier.0", "classifier.2"],
        ["net.9", "net.10", "net.11", "net.100", "net.101"],
    ],
)
def test_the_weights_of_a_state_dict_come_in(tmp_path, names, generator):
    source, network = small(), small()
    for array in source.state().values():
        array[...] = generator.uniform(0.1, 0.9, array.shape)
    tensors.save_file(state_dict(source, names), tmp_path / "w.safetensors")
    npl0.import_weights(network, tmp_path / "w.safetensors")
    for name, array in network.state().items():
        if not name.startswith("standardise"):
            np.testing.assert_array_equal(array, source.state()[name], name)
    assert float(network.layers[0].mean) == 0.1


def test_numbers_in_names_count_as_numbers(tmp_path):
    # Ten layers of one shape: the order of the names is all there is.
    network = Network([Linear(2, 2, bias=False) for _ in range(12)], (2,), seed=0)
    arrays = {f"layers.{i}.weight": np.full((2, 2), i, np.float16) for i in range(12)}
    tensors.save_file(arrays, tmp_path / "w.safetensors")
    npl0.import_weights(network, tmp_path / "w.safetensors")
    assert [float(weight.value[0, 0]) for weight in network.weights] == list(range(12))
    assert all(b.value.max() - a.value.max() == 1 for a, b in pairwise(network.weights))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda a: a.pop("conv2.bias"),
            r"conv2 needs \{'weight': \(4, 4, 3, 3\), 'bias': \(4,\)\}; left are conv2, fc1",
        ),
        (lambda a: a.update({"conv2.weight": np.ones((4, 4, 5, 5), np.float32)}), "conv2 needs"),
        (lambda a: a.update({"fc3.weight": np.ones((3, 3), np.float32)}), "no layer takes fc3"),
        (lambda a: a.update({"fc2.bias": np.ones(3, np.int8)}), "fc2.bias holds int8, and must hold finite floats"),
        (lambda a: a.update({"fc2.bias": np.full(3, np.inf, np.float32)}), "fc2.bias holds float32, and must"),
        (lambda a: a.update({"fc2.bias": np.full(3, 1e300)}), "fc2.bias holds float64|overflow"),
        (lambda a: a.clear(), "conv1 needs .*left are none"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path, change, fault):
    network = small()
    before = {name: array.copy() for name, array in network.state().items()}
    arrays = state_dict(small(), ["conv1", "bn1", "conv2", "fc1", "fc2"])
    change(arrays)
    tensors.save_file(arrays, tmp_path / "w.safetensors")
    with pytest.raises(npl0.CheckpointError, match=rf"w.safetensors does not hold the weights of small .*{fault}"):
        npl0.import_weights(network, tmp_path / "w.safetensors")
    for name, array in network.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_bad_files_are_told_in_words(tmp_path):
    path = tmp_path / "net.safetensors"

    def fault(content):
        path.write_bytes(content)
        with pytest.raises(npl0.CheckpointError) as error:
            npl0.load_model(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)
        return str(error.value)

    npl0.save_model(path, small())
    sound = path.read_bytes()
    length = int.from_bytes(sound[:8], "little")
    described = json.loads(sound[8 : 8 + length])

    def retold(network=None, **header):
        known = json.loads(described["__metadata__"]["npl0"])
        known = {**known, **header, "network": {**known["network"], **(network or {})}}
        text = json.dumps({**described, "__metadata__": {"npl0": json.dumps(known)}}).encode()
        return len(text).to_bytes(8, "little") + text + sound[8 + length :]

    path.write_bytes(retold())
    assert npl0.load_model(path).name == "small"
    assert "describes no network; name it: python -m npl0 import" in fault(tensors.save({"a": np.ones(2)}))
    assert "it is of format npl0-2, and this version of npl0 reads npl0-1" in fault(retold(format="npl0-2"))
    layers = [{"layer": "Flatten"}, {"layer": "Linear", "out_features": 1 << 40}]
    assert "damaged or not a model" in fault(retold({"layers": layers}))
    assert "arrays do not have the names and shapes" in fault(retold({"layers": layers[:1]}))
    huge = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    assert "damaged or not" in fault(len(huge).to_bytes(8, "little") + huge)
    assert "damaged or not" in fault((1 << 62).to_bytes(8, "little") + sound[8:])
    for cut in (0, 7, 8, 100, len(sound) - 1):
        fault(sound[:cut])
    fault(sound + b"\0")


def test_damage_is_refused_or_is_another_network(tmp_path, generator):
    path, refused, network = tmp_path / "net.safetensors", 0, small()
    npl0.save_model(path, network)
    sound = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(sound)
        for place in generator.integers(0, 2200, 2):  # the header, for the arrays have no checksum
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        for read in (npl0.load_model, lambda path: npl0.import_weights(network, path)):
            try:
                read(path)
            except npl0.CheckpointError as error:
                assert "\n" not in str(error) and str(path) in str(error)
                refused += 1
    assert refused > 80


def test_without_the_package_the_command_that_installs_it_is_shown(monkeypatch, tmp_path):
    path = tmp_path / "net.safetensors"
    npl0.save_model(path, small())
    for module in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    works = [lambda: npl0.save_model(path, small()), lambda: npl0.load_model(path)]
    for work in [*works, lambda: npl0.import_weights(small(), path)]:
        with pytest.raises(npl0.Npl0Error, match="this needs safetensors, of the extra `export`: pip install s"):
            work()
