"""A network that PyTorch trained comes in, by both formats, computes the same, is pruned and measured here."""

import numpy as np
import pytest

import npl0
from npl0.nn import BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Network, ReLU, Standardise

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx, the extra export")
torch = pytest.importorskip("torch", reason="a network trained elsewhere needs PyTorch, the extra parity")
tensors = pytest.importorskip("safetensors.torch", reason="the package safetensors, the extra export")

MEAN, STD = 0.1307, 0.3081


@pytest.fixture(scope="module")
def theirs():
    """A trained network of PyTorch, the data, and its logits for the test images."""
    data, nn = npl0.load_dataset("synthetic"), torch.nn
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    layers = [nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False)]
    layers += [nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(288, 10)]
    network = nn.Sequential(*layers)
    images, labels = (torch.tensor(np.asarray(x)) for x in (data.train_images, data.train_labels))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for step in range(60):
        part = slice(step % 20 * 100, step % 20 * 100 + 100)
        loss = nn.functional.cross_entropy(network((images[part] / 255 - MEAN) / STD), labels[part].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        logits = network((torch.tensor(data.test_images) / 255 - MEAN) / STD).numpy()
    torch.set_num_threads(threads)
    return network, data, logits


def accuracy(logits, data):
    return (logits.argmax(axis=1) == data.test_labels).mean()


def by_safetensors(network, path):
    tensors.save_file(network.state_dict(), path)
    layers = [Standardise(MEAN, STD), Conv2d(1, 8, 5, 2, 2), BatchNorm(8), ReLU(), Conv2d(8, 8, 3, bias=False)]
    layers += [BatchNorm(8), MaxPool2d(2), ReLU(), Flatten(), Dropout(0.1), Linear(288, 10)]
    mine = Network(layers, (1, 28, 28))
    npl0.import_weights(mine, path)
    return mine


def by_onnx(network, path):
    """Write the graph as torch.onnx.export does in training mode, without the package onnxscript that it needs."""
    helper, arrays = onnx.helper, {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    norm = ["weight", "bias", "running_mean", "running_var"]
    nodes = [
        ("Conv", ["0.weight", "0.bias"], {"kernel_shape": [5, 5], "strides": [2, 2], "pads": [2, 2, 2, 2], "group": 1}),
        ("BatchNormalization", [f"1.{name}" for name in norm], {"epsilon": 1e-5, "momentum": 0.9}),
        ("Relu", [], {}),
        ("Conv", ["3.weight"], {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1]}),
        ("BatchNormalization", [f"4.{name}" for name in norm], {"epsilon": 1e-5, "momentum": 0.9}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 0}),
        ("Relu", [], {}),
        ("Flatten", [], {"axis": 1}),
        ("Dropout", [], {}),
        ("Gemm", ["9.weight", "9.bias"], {"alpha": 1.0, "beta": 1.0, "transB": 1}),
    ]
    made = [
        helper.make_node(operator, [f"v{i}", *names], [f"v{i + 1}"], name=f"/{operator}", **settings)
        for i, (operator, names, settings) in enumerate(nodes)
    ]
    ends = [helper.make_tensor_value_info(*end) for end in (("v0", 1, ["N", 1, 28, 28]), ("v10", 1, ["N", 10]))]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if array.ndim]
    model = helper.make_model(helper.make_graph(made, "main_graph", ends[:1], ends[1:], initializers))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return npl0.import_onnx(path, MEAN, STD)


@pytest.mark.parametrize("bring_in", [by_safetensors, by_onnx])
def test_it_computes_the_same_and_is_pruned_and_retrained(theirs, bring_in, tmp_path):
    network, data, expected = theirs
    mine = bring_in(network, tmp_path / "net")
    assert accuracy(expected, data) > 0.8
    found = mine.predict(data.test_images)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    pruner = npl0.Magnitude(mine, compression=3)
    masks = pruner.finalise()
    npl0.fit(mine, data.train_images, data.train_labels, npl0.FixedMask(mine, masks), epochs=2, quiet=True)
    assert npl0.density(npl0.masks_of(mine)) < 0.34
    assert accuracy(mine.predict(data.test_images), data) > accuracy(expected, data) - 0.05
