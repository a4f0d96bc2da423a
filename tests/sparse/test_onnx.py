"""ONNX, out and in: other programs compute what npl0 computes, and npl0 what they trained; bad files are told."""

from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.nn import AvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Network, ReLU, Standardise
from npl0.sparse import ExportError, to_onnx

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx, the extra export")
helper = onnx.helper

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


def test_a_network_with_batch_norms_goes_out_and_comes_back(generator, tmp_path):
    network, images = vgg_like(generator), generator.integers(0, 256, (1000, 3, 32, 32), np.uint8)
    content, expected = to_onnx(network), network.predict(images)
    found = logits_of(content, images)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert sum(node.op_type == "BatchNormalization" for node in onnx.load_from_string(content).graph.node) == 1
    (tmp_path / "net.onnx").write_bytes(content)
    back = npl0.import_onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(back.predict(images), expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(back.layers[0].mean, [0.3, 0.6, 0.4], rtol=1e-6)
    assert (back.name, back.input_shape) == ("net", (3, 32, 32))


def test_a_network_without_images_or_standardisation(generator, tmp_path):
    network = trained(Network([Linear(7, 5, bias=False), ReLU(), Linear(5, 3)], (7,)), generator)
    x = generator.normal(size=(20, 7)).astype(np.float32)
    (tmp_path / "net.onnx").write_bytes(to_onnx(network))
    np.testing.assert_allclose(logits_of(to_onnx(network), x), network.predict(x), atol=1e-6)
    np.testing.assert_allclose(npl0.import_onnx(tmp_path / "net.onnx").predict(x), network.predict(x), atol=1e-6)


class Square(npl0.Layer):
    """A layer of a user's own."""

    def forward(self, x, context):
        return x**2, None


def test_a_layer_that_the_format_cannot_hold_is_named():
    with pytest.raises(ExportError, match=r"layer1 is a Square, and model.onnx .*model.npz holds any network"):
        to_onnx(Network([Flatten(), Square(), Linear(4, 2)], (1, 2, 2)))


def graph(nodes, shape=("N", 1, 6, 6), outputs=("N", 2), constants=None, **settings):
    """Return the bytes of a model from `x` to `y`."""
    infos = [helper.make_tensor_value_info(n, 1, list(s)) for n, s in (("x", shape), ("y", outputs))]
    arrays = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()]
    made = helper.make_graph([helper.make_node(*node[:3], **(node[3:] or [{}])[0]) for node in nodes], "g", [infos[0]],
                             [infos[1]], arrays)  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", settings.pop("opset", 17))])


WEIGHT = np.arange(72, dtype=np.float32).reshape(36, 2) / 72


def write(tmp_path, model):
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_what_other_exporters_write_is_understood(tmp_path, generator):
    # MatMul and Add for a linear layer, a Constant for the shape, arithmetic in any order, log-softmax at the end.
    shape = {"value": onnx.numpy_helper.from_array(np.array([-1, 36]))}
    nodes = [
        ("Mul", ["five", "x"], ["a"]),
        ("Sub", ["a", "mean"], ["b"]),
        ("Identity", ["b"], ["c"]),
        ("Constant", [], ["shape"], shape),
        ("Reshape", ["c", "shape"], ["d"]),
        ("Dropout", ["d"], ["e"]),
        ("MatMul", ["e", "w"], ["f"]),
        ("Add", ["bias", "f"], ["g"]),
        ("LogSoftmax", ["g"], ["y"]),
    ]
    constants = {"five": np.float32(5), "mean": np.full((1, 1, 1, 1), 2.5, np.float32), "w": WEIGHT}
    path = write(tmp_path, graph(nodes, constants={**constants, "bias": np.array([[3, 4]], np.float32)}))
    images = generator.integers(0, 256, (9, 1, 6, 6), np.uint8)
    # As it is, or trained on images whose pixels were scaled before.
    for statistics, x in (({}, images.astype(float)), ({"mean": 0.4, "std": [0.9]}, (images / 255 - 0.4) / 0.9)):
        network = npl0.import_onnx(path, **statistics)
        expected = (5 * x.reshape(9, 36) - 2.5) @ WEIGHT + [3, 4]
        np.testing.assert_allclose(network.predict(images), expected, rtol=1e-5, atol=1e-4)
        assert [type(layer) for layer in network.layers] == [Standardise, Flatten, Linear]


def test_a_batch_norm_with_another_epsilon_computes_the_same(tmp_path, generator):
    arrays = {name: generator.uniform(0.5, 2, 3).astype(np.float32) for name in ("scale", "shift", "mean", "var")}
    weights = {"w": generator.normal(size=(3, 1, 3, 3)).astype(np.float32), **arrays}
    nodes = [
        ("Conv", ["x", "w"], ["a"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("BatchNormalization", ["a", *arrays], ["b"], {"epsilon": 0.5}),
        ("Flatten", ["b"], ["y"]),
    ]
    model = graph(nodes, outputs=("N", 27), constants=weights)
    runtime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    x = generator.normal(size=(5, 1, 6, 6)).astype(np.float32)
    model.ir_version = 8
    (expected,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    network = npl0.import_onnx(write(tmp_path, model))
    np.testing.assert_allclose(network.predict(x), expected, rtol=1e-5, atol=1e-5)


FLAT = ("Flatten", ["x"], ["f"])
GEMM = ("Gemm", ["f", "w"], ["y"])


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ([FLAT, ("Sigmoid", ["f"], ["s"]), ("Gemm", ["s", "w"], ["y"])], r"layer 2 \(Sigmoid\): npl0 has no layer for"),
        ([FLAT, ("Gemm", ["f", "w"], ["a"]), ("Add", ["a", "f"], ["y"])], r"layer 3 \(Add\): npl0 has chains only"),
        ([FLAT, ("MatMul", ["w", "f"], ["y"])], r"\(MatMul\): npl0 has chains only"),
        ([FLAT, ("Gemm", ["f", "w"], ["y"], {"alpha": 0.5})], "no alpha = 0.5"),
        ([FLAT, ("Gemm", ["f", "w"], ["y"], {"transB": 1})], r"expects an input of shape \(2,\)"),
        ([FLAT, GEMM, ("Relu", ["y"], ["z"])], "its output is not the result of its last operator"),
        ([("Conv", ["x", "k"], ["y"], {"group": 2})], "no group = 2"),
        ([("Conv", ["x", "k"], ["y"], {"strides": [1, 2]})], "square kernels"),
        ([("Conv", ["x", "long"], ["y"])], r"\(1, 1, 3, 3\), float32\) cannot take a value of shape \(1, 1, 3, 1\)"),
        ([("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]})], "no padding of pooling"),
        ([("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "ceil_mode": 1})], "no ceil_mode = 1"),
        ([("Sub", ["x", "image"], ["s"]), ("Flatten", ["s"], ["f"]), GEMM], "one number for all pixels of a channel"),
        ([FLAT, ("Softmax", ["f"], ["s"]), ("Gemm", ["s", "w"], ["y"])], "Softmax"),
        ([FLAT, ("Gemm", ["f", "large"], ["y"])], "large holds float64, and npl0 takes finite|overflow"),
        ([FLAT, ("Gemm", ["f", "nan"], ["y"])], "nan holds float32, and npl0 takes finite numbers only"),
    ],
)  # fmt: skip
def test_what_npl0_has_no_layer_for_is_named(tmp_path, nodes, fault):
    constants = {"w": WEIGHT, "k": np.ones((1, 1, 3, 3), np.float32), "long": np.ones((1, 1, 3, 1), np.float32)}
    constants |= {"image": np.ones((1, 6, 6), np.float32)}
    constants |= {"nan": WEIGHT * np.nan} if "nan" in fault else {}
    constants |= {"large": WEIGHT.astype(float) * 1e300} if "large" in fault else {}
    path = write(tmp_path, graph(nodes, constants=constants))
    with pytest.raises(npl0.CheckpointError, match=rf"net.onnx is no ONNX model that npl0 can take .*{fault}"):
        npl0.import_onnx(path)


def test_files_of_other_kinds_newer_ones_and_hostile_ones_are_refused(tmp_path):
    def fault(model):
        with pytest.raises(npl0.CheckpointError, match=r"net.onnx is no ONNX model") as error:
            npl0.import_onnx(write(tmp_path, model))
        return str(error.value)

    assert "its opset is newer than" in fault(graph([FLAT, GEMM], constants={"w": WEIGHT}, opset=999))
    unknown = graph([FLAT, GEMM], shape=("N", 1, "H", 6), constants={"w": WEIGHT})
    assert "its input is (N, 1, 0, 6), not of a known" in fault(unknown)
    assert "too long" in fault(graph([FLAT, GEMM], shape=("N", 1, 1 << 40, 6), constants={"w": WEIGHT}))
    long = [("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(1001)]
    assert "too long" in fault(graph([("Relu", ["x"], ["v0"]), *long]))
    # Weights in another file could be any file of the user's.
    outside = graph([FLAT, GEMM], constants={"w": WEIGHT})
    tensor = outside.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    assert "w is in another file; export with external_data=False" in fault(outside)
    # Sizes that are declared and not there.
    huge = graph([FLAT, GEMM], constants={"w": WEIGHT})
    huge.graph.initializer[0].dims[:] = [1 << 30, 1 << 30]
    assert "cannot reshape" in fault(huge)
    (tmp_path / "empty.onnx").write_bytes(b"")
    for path in (tmp_path / "empty.onnx", RUNS / "lenet5-mnist-l0-750ccc39-s0" / "model.npz"):
        with pytest.raises(npl0.CheckpointError, match="no ONNX model"):
            npl0.import_onnx(path)
    with pytest.raises(FileNotFoundError):
        npl0.import_onnx(tmp_path / "missing.onnx")


def test_damaged_files_are_refused_or_are_other_networks(tmp_path, generator):
    network = trained(Network([Standardise(0.1, 0.3), Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(32, 3)], (1, 6, 6)),
                      generator)  # fmt: skip
    content, path, refused = to_onnx(network), tmp_path / "net.onnx", 0
    for trial in range(90):
        damaged = bytearray(content)
        if trial % 3:
            for place in generator.integers(0, len(damaged), trial % 5 + 1):
                damaged[place] = generator.integers(256)
        else:
            del damaged[generator.integers(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            assert isinstance(npl0.import_onnx(path), Network)
        except npl0.CheckpointError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused > 40


def test_without_the_package_the_command_that_installs_it_is_shown(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    for work in (lambda: to_onnx(Network([Linear(3, 2)], (3,))), lambda: npl0.import_onnx(tmp_path / "net.onnx")):
        with pytest.raises(npl0.Npl0Error, match=r"this needs onnx, of the extra `export`: pip install onnx"):
            work()
