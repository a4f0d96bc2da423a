"""Model files and what they are written with: every network comes back, and damage is told."""

import json
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import npl0
from npl0.storage.archive import CheckpointError, load_arrays, save_arrays
from npl0.storage.description import build_described, describe_network


def every_layer(dtype=np.float32):
    layers = [
        npl0.Standardise((0.1, 0.2), (0.5, 0.25)),
        npl0.Conv2d(2, 8, 3, stride=2, padding=1, algorithm="im2col"),
        npl0.BatchNorm(8, momentum=0.3),
        npl0.ReLU(),
        npl0.Conv2d(8, 4, 3, padding=1, bias=False),
        npl0.MaxPool2d(3, stride=2),
        npl0.AvgPool2d(2, stride=1),
        npl0.Flatten(),
        npl0.Dropout(0.25),
        npl0.Linear(16, 6, bias=False),
        npl0.Linear(6, 5),
    ]
    return npl0.Network(layers, (2, 13, 13), "zoo", seed=4, dtype=dtype, shard_size=8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_network_of_every_layer_comes_back(tmp_path, dtype, generator, workers):
    network = every_layer(dtype)
    images = generator.integers(0, 256, (20, 2, 13, 13), np.uint8)
    # A step of training, so that running statistics and all gradients are those of a network in use.
    network.loss_and_gradients(images, np.arange(20) % 5, workers, (0,))
    for parameter in network.parameters:
        parameter.value -= 0.1 * parameter.grad
    npl0.save_model(tmp_path / "zoo.npz", network, classes=list("abcde"), note={"a": [1, None]})
    stored = npl0.load_model(tmp_path / "zoo.npz")
    assert (stored.name, stored.input_shape, stored.dtype, stored.shard_size) == ("zoo", (2, 13, 13), dtype, 8)
    assert (stored.header["classes"], stored.header["note"]) == (list("abcde"), {"a": [1, None]})
    assert stored.state().keys() == network.state().keys()
    for name, value in network.state().items():
        assert stored.state()[name].tobytes() == value.tobytes(), name
    for mine, other in zip(network.layers, stored.layers, strict=True):
        settings_of = [{k: v for k, v in vars(x).items() if isinstance(v, (int, float, str))} for x in (mine, other)]
        assert settings_of[0] == settings_of[1]
    np.testing.assert_array_equal(stored.predict(images), network.predict(images))
    # And it trains on alike.
    losses = [net.loss_and_gradients(images, np.arange(20) % 5, workers, (1, 2))[0] for net in (network, stored)]
    assert losses[0] == losses[1] > 0


def test_the_description_is_plain_json():
    description = describe_network(every_layer())
    assert json.loads(json.dumps(description)) == description
    assert describe_network(build_described(description)) == description


def test_layers_of_old_files_which_name_no_bias_have_one():
    description = describe_network(every_layer())
    for entry in description["layers"]:
        entry.pop("bias", None)
    names = [parameter.name for parameter in build_described(description).parameters]
    assert {"conv1.bias", "conv2.bias", "fc1.bias", "fc2.bias"} <= set(names)


class Square(npl0.Layer):
    """A user's own layer, y = factor x^2."""

    kind = "square"

    def __init__(self, factor):
        self.factor = factor

    def forward(self, x, context):
        return self.factor * x**2, None


def test_a_layer_of_ones_own_is_stored_too(tmp_path, generator):
    network = npl0.Network([npl0.Linear(4, 3), Square(0.1)], (4,), seed=1)
    images = generator.standard_normal((5, 4))
    npl0.save_model(tmp_path / "m.npz", network)
    stored = npl0.load_model(tmp_path / "m.npz")
    assert isinstance(stored.layers[1], Square)
    np.testing.assert_array_equal(stored.predict(images), network.predict(images))
    assert stored.predict(images).any()


def test_a_layer_whose_class_is_not_defined_is_named(tmp_path):
    description = {**describe_network(every_layer()), "layers": [{"layer": "Squared", "factor": 0.1}]}
    save_arrays(tmp_path / "m.npz", {"kind": "model", "network": description}, {})
    with pytest.raises(CheckpointError, match=r"layer 1 \(Squared\): this layer is unknown: did you mean 'Square'"):
        npl0.load_model(tmp_path / "m.npz")


def test_pruned_models_are_small(tmp_path):
    network = npl0.build_model("lenet300")
    sizes = []
    for kept in (1.0, 0.01):
        for weight in network.weights:
            weight.value[np.random.default_rng(0).random(weight.value.shape) > kept] = 0
        npl0.save_model(tmp_path / "m.npz", network)
        sizes.append((tmp_path / "m.npz").stat().st_size)
    assert sizes[1] < sizes[0] / 10


# ---- damage ---------------------------------------------------------------------------------------------------------


def test_what_is_no_model_is_told(tmp_path):
    path = tmp_path / "m.npz"
    with pytest.raises(CheckpointError, match=r"m\.npz does not exist"):
        npl0.load_model(path)
    np.savez(path, a=np.ones(2))
    with pytest.raises(CheckpointError, match=r"damaged or not a model of npl0's .*; name another, or make it again"):
        npl0.load_model(path)
    for text in (b"", b"# A text", (b"\x93NUMPY" + b" " * 100)):
        path.write_bytes(text)
        with pytest.raises(CheckpointError, match=r"not a model of npl0's \(.*zip file.*\); name another"):
            npl0.load_model(path)
    save_arrays(path, {"kind": "checkpoint"}, {})
    with pytest.raises(CheckpointError, match=r"holds a checkpoint of format npl0-1, not a model of npl0-1.*; name"):
        npl0.load_model(path)
    save_arrays(path, {"kind": "model", "format": "npl0-0"}, {})
    with pytest.raises(CheckpointError, match=r"holds a model of format npl0-0, not a model of npl0-1, which this"):
        npl0.load_model(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda network, arrays: network.pop("layers"),
        lambda network, arrays: network["layers"][0].update(layer="Sparse"),
        lambda network, arrays: network["layers"][1].update(stride="x"),
        lambda network, arrays: network.update(dtype="float33"),
        lambda network, arrays: network["layers"][1].update(surprise=1),
        lambda network, arrays: arrays.pop("fc1.weight"),
        lambda network, arrays: arrays.update({"fc1.weight": np.ones((2, 2), np.float32)}),
    ],
)
def test_a_model_file_that_contradicts_itself_is_told(tmp_path, spoil):
    network = every_layer()
    description, arrays = describe_network(network), dict(network.state())
    spoil(description, arrays)
    save_arrays(tmp_path / "m.npz", {"kind": "model", "network": description}, arrays)
    with pytest.raises(CheckpointError, match=r"m\.npz is damaged or not a model of npl0's .*make it again"):
        npl0.load_model(tmp_path / "m.npz")


def test_folders_without_a_model_are_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no model\.npz; name the folder of a finished run"):
        npl0.load_model(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "checkpoint.npz").touch()
    with pytest.raises(
        CheckpointError, match=r"the run .*one is not finished; finish it with: python -m npl0\.run --conf"
    ):
        npl0.load_model(tmp_path / "one")
    npl0.save_model(tmp_path / "one" / "model.npz", every_layer())
    with pytest.raises(CheckpointError, match=r"it holds the runs one: name one of them"):
        npl0.load_model(tmp_path)
    assert npl0.load_model(tmp_path / "one").name == "zoo"


_ARRAYS = {"a": np.arange(60, dtype=np.float32), "b": np.ones((2, 3), bool), "c": np.array(7)}
_TMP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def _same_or_refused(path):
    """A damaged file must be refused, unless the damage lies where nothing is stored."""
    try:
        header, arrays = load_arrays(path)
    except CheckpointError:
        return
    assert header["kind"] == "checkpoint" and arrays.keys() == _ARRAYS.keys()
    for name, array in _ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


@_TMP
@given(data=st.data(), compress=st.booleans())
def test_no_damage_goes_unnoticed(tmp_path, data, compress):
    path = tmp_path / "c.npz"
    save_arrays(path, {"kind": "checkpoint"}, _ARRAYS, compress)
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, len(content) - 1]))])
    _same_or_refused(path)


def test_arrays_come_back_exactly(tmp_path):
    save_arrays(tmp_path / "c.npz", {"kind": "checkpoint", "x": 0.1}, _ARRAYS)
    header, arrays = load_arrays(tmp_path / "c.npz")
    assert header == {"format": "npl0-1", "kind": "checkpoint", "x": 0.1}
    for name, array in _ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.npz"]


def test_pickles_are_neither_written_nor_read(tmp_path):
    np.savez(tmp_path / "p.npz", header=np.array([object()], object))
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load_arrays(tmp_path / "p.npz")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.npz"
    save_arrays(path, {"kind": "checkpoint"}, _ARRAYS)
    before = path.read_bytes()

    class Bad:
        def __array__(self, *_, **__):
            raise MemoryError

    with pytest.raises(MemoryError):
        save_arrays(path, {"kind": "checkpoint"}, {"a": Bad()})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.npz"]


@pytest.mark.parametrize("compress", [False, True])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path, compress):
    path, arrays = tmp_path / "a.npz", {"w": np.arange(24.0).reshape(4, 6), "mask": np.eye(3) > 0}
    save_arrays(path, {"kind": "checkpoint", "number": 1}, arrays, compress)
    sound, (header, _) = path.read_bytes(), load_arrays(path)
    generator = np.random.default_rng(0)
    for bit in generator.choice(8 * len(sound), 600, replace=False):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found_header, found = load_arrays(path)
        except CheckpointError:
            continue
        assert found_header == header and found.keys() == arrays.keys(), bit
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype, bit
            np.testing.assert_array_equal(found[name], array)


def test_a_model_in_a_missing_folder_names_the_model(tmp_path):
    path = tmp_path / "nowhere" / "m.npz"
    with pytest.raises(FileNotFoundError) as caught:
        npl0.save_model(path, npl0.build_lenet300(seed=None))
    assert caught.value.filename == str(path)


def test_a_description_is_compared_before_it_costs_anything(tmp_path):
    path = tmp_path / "m.npz"
    for dtype in ("float32", "float64"):
        layers = [{"layer": "Linear", "in_features": 784, "out_features": 400_000}]
        description = {"name": "big", "input_shape": [784], "dtype": dtype, "shard_size": 64, "layers": layers}
        save_arrays(path, {"kind": "model", "network": description}, {"fc1.weight": np.ones((2, 2), np.float32)})
        began = time.perf_counter()
        with pytest.raises(CheckpointError, match="do not have the names and shapes of its layers"):
            npl0.load_model(path)
        # The draw of the weights alone would take many seconds.
        assert time.perf_counter() - began < 2
    layers = [{"layer": "Linear", "in_features": 1, "out_features": 10**8}, {"layer": "BatchNorm"}]
    save_arrays(path, {"kind": "model", "network": {**description, "input_shape": [1], "layers": layers}}, {})
    with pytest.raises(CheckpointError, match=r"layer 2 \(BatchNorm\): 100,000,000 features are more than there are"):
        npl0.load_model(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda array: array * np.float32(np.nan), "fc1.weight holds NaN or infinity"),
        (lambda array: array / np.float32(0), "fc1.weight holds NaN or infinity"),
        (lambda array: array.astype(np.float64), r"the stored one \(2, 4\) of float64"),
        (lambda array: array.astype(np.int32), r"the stored one \(2, 4\) of int32"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_of_another_kind_are_refused(spoil, message, tmp_path):
    network = npl0.Network([npl0.Linear(4, 2)], (4,))
    arrays = network.state()
    header = {"kind": "model", "network": describe_network(network)}
    save_arrays(tmp_path / "m.npz", header, {**arrays, "fc1.weight": spoil(arrays["fc1.weight"])})
    with pytest.raises(CheckpointError, match=message):
        npl0.load_model(tmp_path / "m.npz")


@pytest.mark.parametrize("header", [{"settings": []}, {"data": "x"}, {"classes": 3}])
def test_a_header_of_another_kind_is_refused(header, tmp_path):
    network = npl0.Network([npl0.Linear(4, 2)], (4,))
    save_arrays(tmp_path / "m.npz", {"kind": "model", "network": describe_network(network), **header}, network.state())
    with pytest.raises(CheckpointError, match=f"{next(iter(header))} of its header is no"):
        npl0.load_model(tmp_path / "m.npz")


def test_what_is_declared_is_checked_before_it_is_read(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {"kind": "checkpoint"}, {"a": np.zeros(10**8, np.uint8)}, compress=True)
    with pytest.raises(CheckpointError, match=r"a claims 100,000,128 bytes: if .* numpy.savez"):
        load_arrays(path)
    # Uncompressed, it takes no more than it holds.
    save_arrays(path, {"kind": "checkpoint"}, {"a": np.zeros(10**8, np.uint8)})
    assert load_arrays(path)[1]["a"].size == 10**8


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_network_that_could_not_be_loaded_is_not_saved(value, tmp_path):
    network = npl0.Network([npl0.Linear(4, 2)], (4,))
    network.weights[0].value[0, 0] = value
    with pytest.raises(ValueError, match=r"fc1.weight holds NaN or infinity, so this is no model to use"):
        npl0.save_model(tmp_path / "m.npz", network)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["layers", "weight", "size"])
def test_a_network_that_could_not_be_read_again_is_not_written(tmp_path, change):
    network = npl0.Network([npl0.Linear(6, 4), npl0.ReLU(), npl0.Linear(4, 3)], (6,))
    if change == "layers":
        network.layers = (*network.layers[:2], npl0.Linear(5, 3))
    elif change == "weight":
        network.layers[0].weight = npl0.Parameter(np.ones((5, 6), np.float32), "weight", "fc1.weight")
    else:
        network.layers[2].out_features = 9
    with pytest.raises(ValueError, match=r"network could not be read again: .*; make a new network of its layers"):
        npl0.save_model(tmp_path / "m.npz", network)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["format", "arrays"])
def test_reserved_words_of_the_header_are_refused(tmp_path, word):
    with pytest.raises(ValueError, match=f"npl0 itself writes {word} into the header"):
        npl0.save_model(tmp_path / "m.npz", npl0.Network([npl0.Linear(6, 4)], (6,)), **{word: "mine"})


def test_a_file_of_very_many_layers_is_refused_before_they_are_built():
    with pytest.raises(ValueError, match="200,000 layers are more than the 1,000"):
        build_described({"input_shape": [3], "layers": [{"layer": "ReLU"}] * 200_000})
