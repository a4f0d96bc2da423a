"""The C export: it compiles without a warning, and classifies as the network does."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.nn import AvgPool2d, BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, Network, ReLU, Standardise
from npl0.sparse import ExportError, measure, to_c, to_npl0
from npl0.sparse.c_build import FLAGS
from npl0.sparse.reader import parse

RUNS = Path(__file__).parents[2] / "experiments" / "results" / "main"
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
LENET5 = "lenet5-mnist-l0-750ccc39-s0"


@pytest.fixture
def run_c(tmp_path):
    """Compile a network, with checks for undefined behaviour, and return its logits and classes for images."""

    def run(network, images, precision, checks=("-fsanitize=undefined",)):
        c = to_c(network, precision, "net")
        (tmp_path / "net.h").write_text(c.header)
        (tmp_path / "net.c").write_text(c.source)
        words = ["gcc", *FLAGS, "-shared", "-fPIC", *checks, "net.c", "-o", "net.so"]
        subprocess.run(words, cwd=tmp_path, check=True)
        library = ctypes.CDLL(str(tmp_path / "net.so"))
        buffer = ((ctypes.c_int32 if precision == "int8" else ctypes.c_float) * network.output_shape[0])()
        images, logits, classes = np.ascontiguousarray(images, np.uint8), [], []
        for image in images:
            pointer = image.ctypes.data_as(ctypes.c_void_p)
            library.net_predict(pointer, buffer)
            logits.append(list(buffer))
            classes.append(library.net_classify(pointer))
        scale = float(re.search(r"NET_SCALE (\S+)", c.header)[1])
        return np.array(logits) * scale, np.array(classes), c

    return run


@needs_gcc
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("run", [LENET5, "lenet5-mnist-magnitude-df953ba2-s0", "lenet300-mnist-l0-6f5e4da6-s0"])
def test_a_stored_network_in_c_gives_the_same_classes(run_c, run, precision):
    network = npl0.load_model(RUNS / run)
    images = npl0.load_dataset("mnist").test_images[:1000]
    logits, classes, c = run_c(network, images, precision, checks=())
    expected = network.predict(images)
    assert np.array_equal(classes, logits.argmax(axis=1))
    assert np.abs(logits - expected).max() <= (1e-5 if precision == "float32" else 0.02) * np.abs(expected).max()
    # int8 is compared with the network whose weights are rounded alike; the integers between its layers change nothing.
    rounded = parse(to_npl0(network, precision)).predict(images)
    assert np.array_equal(classes, rounded.argmax(axis=1))
    assert (classes != expected.argmax(axis=1)).sum() <= (0 if precision == "float32" else 5)
    if run == LENET5 and precision == "int8":
        assert c.constants < 6500 and c.memory < 11_000


def random_network(*layers, shape=(2, 11, 11)):
    network = Network(layers, shape, seed=5)
    generator = np.random.default_rng(2)
    for name, array in network.state().items():
        if not name.startswith("standardise"):
            array[...] = generator.uniform(0.2, 1, array.shape) * generator.choice([-1, 1], array.shape)
        if name.endswith("running_var"):
            array[...] = abs(array)
    for weight in network.weights:
        weight.value[generator.random(weight.value.shape) < 0.5] = 0
    return network, generator.integers(0, 256, (20, *shape), np.uint8)


@needs_gcc
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_padding_strides_and_pooling_are_those_of_the_network(run_c, precision):
    layers = [Standardise([0.3, 0.6], [0.2, 0.4]), Conv2d(2, 5, 3, padding=2), MaxPool2d(3, 2), ReLU()]
    layers += [Conv2d(5, 4, 3, stride=2, padding=1, bias=False), AvgPool2d(2, 1), ReLU(), Flatten(), Linear(16, 3)]
    network, images = random_network(*layers)
    logits, _, _ = run_c(network, images, precision)
    expected = network.predict(images)
    assert np.abs(logits - expected).max() <= (1e-5 if precision == "float32" else 0.02) * np.abs(expected).max()


@needs_gcc
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_lies_far_apart_or_is_empty_is_found(run_c, precision):
    # Gaps of more than 255 columns, a row without weights, no standardisation, extreme pixels.
    network, images = random_network(Flatten(), Linear(1800, 4), ReLU(), Linear(4, 3), shape=(2, 30, 30))
    first = network.weights[0].value
    first[...] = 0
    first[0, [0, 255, 510, 1799]], first[1, 1000], first[2, 256] = [0.5, -0.3, 0.2, 0.1], 0.3, -0.2
    images[:3], images[3:6] = 0, 255
    logits, _, _ = run_c(network, images, precision)
    expected = network.predict(images)
    assert np.abs(logits - expected).max() <= (1e-5 if precision == "float32" else 0.02) * np.abs(expected).max()


@needs_gcc
def test_a_batch_norm_that_is_not_folded_needs_floats(run_c):
    layers = [Standardise([0.3, 0.6], [0.2, 0.4]), Conv2d(2, 3, 3), ReLU(), BatchNorm(3), Flatten(), Linear(243, 3)]
    network, images = random_network(*layers)
    logits, _, _ = run_c(network, images, "float32")
    np.testing.assert_allclose(logits, network.predict(images), rtol=1e-4, atol=1e-3)
    with pytest.raises(ExportError, match="bn1, a BatchNorm, has no integer form: take float32"):
        to_c(network, "int8")


@needs_gcc
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_layers_behind_a_flattening_work_on_all_of_a_map(run_c, precision):
    # One mean and deviation for both channels.
    layers = [Standardise(0.3, 0.2), Conv2d(2, 3, 3), Flatten(), ReLU(), Linear(243, 3)]
    network, images = random_network(*layers)
    logits, _, _ = run_c(network, images, precision)
    expected = network.predict(images)
    assert np.abs(logits - expected).max() <= (1e-5 if precision == "float32" else 0.02) * np.abs(expected).max()


@needs_gcc
def test_a_batch_norm_behind_a_flattening_has_a_factor_for_each_value(run_c):
    layers = [Standardise(0.3, 0.2), Conv2d(2, 3, 3), ReLU(), Flatten(), BatchNorm(243), Linear(243, 3)]
    network, images = random_network(*layers)
    logits, _, _ = run_c(network, images, "float32")
    np.testing.assert_allclose(logits, network.predict(images), rtol=1e-4, atol=1e-3)


@needs_gcc
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_network_of_one_layer_compiles(run_c, precision):
    network, images = random_network(Standardise(0.3, 0.2), Flatten(), Linear(242, 3))
    logits, _, _ = run_c(network, images, precision)
    expected = network.predict(images)
    assert np.abs(logits - expected).max() <= (1e-5 if precision == "float32" else 0.02) * np.abs(expected).max()


def test_a_sum_that_can_overflow_is_refused():
    # 4,000 inputs of up to 255 and weights of 127 are too much for 24 bits, not for 31; a bias of 2**31 units is.
    network, _ = random_network(Flatten(), Linear(4000, 2), shape=(1, 40, 100))
    to_c(network)
    network.layers[1].bias.value[0] = 1e9
    with pytest.raises(ExportError, match="fc1 can overflow 32 bits: take float32"):
        to_c(network)


def test_names_and_precisions_that_c_does_not_take_are_refused():
    network = Network([Linear(3, 2)], (3,))
    for name in ("2net", "my-net", "", "né"):
        with pytest.raises(ExportError, match="is no name in C"):
            to_c(network, name=name)
    with pytest.raises(ExportError, match="C takes int8 and float32"):
        to_c(network, "float16")


@needs_gcc
def test_code_and_time_are_measured(monkeypatch):
    c = to_c(npl0.load_model(RUNS / LENET5))
    code, milliseconds = measure(c)
    assert 1000 < code < 6000 and 0 < milliseconds < 1000
    monkeypatch.setenv("PATH", "")
    assert measure(c) is None


def test_an_arm_controller_can_hold_it(tmp_path):
    if not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("arm-none-eabi-gcc is not installed")
    c = to_c(npl0.load_model(RUNS / LENET5))
    (tmp_path / "model.h").write_text(c.header)
    (tmp_path / "model.c").write_text(c.source)
    words = ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", *FLAGS, "-c", "model.c", "-o", "model.o"]
    subprocess.run(words, cwd=tmp_path, check=True)
    size = subprocess.run(["arm-none-eabi-size", "model.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    text, data, bss = map(int, size.stdout.splitlines()[1].split()[:3])
    assert text + data < 32 << 10 and data + bss < 16 << 10
