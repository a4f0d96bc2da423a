"""model.npl0: what is written is read, by a file that needs NumPy alone, and damage is named."""

import subprocess
import sys
import zlib
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

import npl0
from npl0.nn import AvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Network, ReLU, Standardise
from npl0.sparse import ExportError, ModelFileError, compact, load, reader, to_npl0, writer
from npl0.sparse.reader import Decoder, parse
from npl0.sparse.writer import Encoder, rounded

RUNS = Path(__file__).parents[2] / "experiments" / "results"
LENET5, LENET300 = "main/lenet5-mnist-l0-750ccc39-s0", "main/lenet300-mnist-l0-6f5e4da6-s0"


@pytest.fixture(scope="module")
def mnist():
    return npl0.load_dataset("mnist")


def small_network(dtype=np.float32):
    """A network with every kind of layer that the format knows, pruned, its batch norms in use."""
    layers = [Standardise([0.3, 0.4], [0.2, 0.3]), Conv2d(2, 5, 3, padding=1), BatchNorm(5), ReLU(), MaxPool2d(3, 2)]
    layers += [Conv2d(5, 6, 2, stride=2, bias=False), ReLU(), BatchNorm(6), AvgPool2d(2, 1), Dropout(0.5), Flatten()]
    network = Network([*layers, Linear(24, 7), ReLU(), Linear(7, 3)], (2, 13, 13), "small", dtype=dtype)
    generator = np.random.default_rng(3)
    for name, array in network.state().items():
        if not name.startswith("standardise"):
            array[...] = generator.uniform(0.2, 1, array.shape) * generator.choice([-1, 1], array.shape)
        if name.endswith("running_var"):
            array[...] = abs(array)
    for weight in network.weights:
        weight.value[generator.random(weight.value.shape) < 0.6] = 0
    return network, generator.integers(0, 256, (5, 2, 13, 13), np.uint8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kind_of_layer_computes_the_same(dtype):
    network, images = small_network(dtype)
    model = parse(to_npl0(network, "float32", ["cat", "dög", "2"]))
    assert (model.name, model.classes, model.input_shape) == ("small", ["cat", "dög", "2"], (2, 13, 13))
    expected = network.predict(images)
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    # One image, and none.
    np.testing.assert_allclose(model.predict(images[:1]), expected[:1], rtol=1e-4, atol=1e-4)
    assert model.predict(images[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match=r"\(N, 2, 13, 13\), not \(5, 13, 13\)"):
        model.predict(images[:, 0])


def test_one_mean_and_deviation_may_stand_for_all_channels():
    network = Network([Standardise(0.3, 0.2), Flatten(), Linear(32, 3)], (2, 4, 4))
    images = np.random.default_rng(3).integers(0, 256, (5, 2, 4, 4), np.uint8)
    np.testing.assert_allclose(parse(to_npl0(network, "float32")).predict(images), network.predict(images), atol=1e-5)


@pytest.mark.parametrize("precision", reader.PRECISIONS)
def test_the_values_are_those_of_the_precision(precision):
    network = npl0.load_model(RUNS / LENET5)
    small = writer._in_order(compact(network), "float32" if precision == "float32" else "float16")
    model = parse(to_npl0(network, precision))
    weights = [given["weight"] for _, given in model.layers if "weight" in given]
    for weight, found in zip(small.weights, weights, strict=True):
        np.testing.assert_array_equal(found, rounded(weight.value, precision, ""), strict=True)
        assert not found[weight.value == 0].any()
        most = {"float32": 0, "float16": 2**-11, "int8": 1 / 254, "codebook": 0.25}[precision]
        assert np.abs(found - weight.value).max() <= most * np.abs(weight.value).max() * 1.001
        if precision == "codebook":
            assert len(np.unique(found[found != 0])) <= 16
    biases = [given["bias"] for _, given in model.layers if "bias" in given]
    for layer, found in zip((x for x in small.layers if x.parameters), biases, strict=True):
        np.testing.assert_allclose(found[:, 0], layer.bias.value, rtol=0 if precision == "float32" else 2**-11)


@pytest.mark.parametrize(
    ("precision", "bytes_a_weight", "most_different"),
    [("float32", 4.3, 0), ("float16", 2.45, 1), ("int8", 1.8, 3), ("codebook", 1.4, 10)],
)
def test_lenet5_is_small_and_classifies_as_before(mnist, tmp_path, precision, bytes_a_weight, most_different):
    network = npl0.load_model(RUNS / LENET5)
    content = to_npl0(network, precision, network.header["classes"])
    assert len(content) <= bytes_a_weight * sum(np.count_nonzero(weight.value) for weight in network.weights)
    assert precision == "float32" or len(content) <= 6 * 1024
    (tmp_path / "model.npl0").write_bytes(content)
    images, labels = mnist.test_images[:500], mnist.test_labels[:500]
    found, logits = load(tmp_path / "model.npl0").predict(images), network.predict(images)
    assert (found.argmax(axis=1) != logits.argmax(axis=1)).sum() <= most_different
    assert (found.argmax(axis=1) == labels).mean() > 0.985
    if precision == "float32":
        assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()


def test_the_reader_runs_alone_where_only_numpy_is(mnist, tmp_path):
    network = npl0.load_model(RUNS / LENET300)
    (tmp_path / "reader.py").write_bytes(Path(reader.__file__).read_bytes())
    (tmp_path / "model.npl0").write_bytes(to_npl0(network))
    np.save(tmp_path / "images.npy", mnist.test_images[:200])
    blocked = ("numba", "scipy", "tqdm", "npl0", "threadpoolctl", "filelock", "lazy_loader", "tomli_w")
    start = f"import sys, runpy; sys.modules.update(dict.fromkeys({blocked})); sys.argv = sys.argv[1:]; sys.path = "
    start += "[p for p in sys.path if p]; runpy.run_path('reader.py', run_name='__main__')"
    words = [sys.executable, "-c", start, "reader.py", "model.npl0", "images.npy"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [int(line) for line in done.stdout.split()] == network.predict(mnist.test_images[:200]).argmax(1).tolist()
    assert Path(reader.__file__).read_text(encoding="utf-8").count("\n") < 250


@given(st.lists(st.one_of(st.booleans(), st.integers(0, 2**32 - 1)), max_size=60), st.integers(1, 64))
def test_what_the_coder_writes_it_reads(items, bits):
    encoder = Encoder()
    for item in items:
        if isinstance(item, bool):
            encoder.bit(300, item)
            encoder.raw(bits, (1 << bits) - 1 if item else 0)
        else:
            encoder.number(0, item)
    decoder = Decoder(encoder.content())
    for item in items:
        if isinstance(item, bool):
            assert (decoder.bit(300), decoder.raw(bits)) == (item, (1 << bits) - 1 if item else 0)
        else:
            assert decoder.number(0) == item


def test_long_runs_of_one_bit_cost_almost_nothing():
    encoder = Encoder()
    for i in range(20_000):
        encoder.bit(0, i % 1000 == 0)
    content = encoder.content()
    assert len(content) < 60  # 20 of 20,000 ones: 29 bytes at least
    decoder = Decoder(content)
    assert [decoder.bit(0) for _ in range(20_000)] == [i % 1000 == 0 for i in range(20_000)]


class Twice(Layer):
    def forward(self, x, context):
        return 2 * x, None


def test_what_the_format_cannot_hold_is_named():
    with pytest.raises(ExportError, match=r"layer1 is a Twice, and model.npl0 holds only layers of npl0.nn; model.npz"):
        to_npl0(Network([Twice(), Linear(3, 2)], (3,)))
    network = Network([Linear(3, 2)], (3,))
    network.weights[0].value[0, 0] = 1e6
    with pytest.raises(ExportError, match=r"fc1.weight holds 1e\+06, which is too large for float16: take float32"):
        to_npl0(network)
    with pytest.raises(ExportError, match=r"precision 'float8' is unknown"):
        to_npl0(network, "float8")
    images = np.ones((1, 3), np.float32)
    assert parse(to_npl0(network, "float32")).predict(images) == pytest.approx(network.predict(images))


def sealed(payload):
    """Return a file with this payload and the right checksum."""
    return reader.MAGIC + bytes([reader.VERSION]) + zlib.crc32(payload).to_bytes(4, "little") + payload


def refused(content):
    """Return why the content of a file is refused, or None if it is read."""
    try:
        model = parse(content)
        with np.errstate(all="ignore"):
            model.predict(np.zeros((1, *model.input_shape), np.uint8))
    except ModelFileError as error:
        assert str(error) and "\n" not in str(error)
        return str(error)


def test_every_damaged_byte_and_every_missing_end_is_noticed():
    content, random = to_npl0(small_network()[0]), np.random.default_rng(0)
    assert refused(content) is None
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        assert refused(bytes(damaged)), place
        assert refused(content[:place]), place
    assert refused(content + b"\0") == "its checksum is wrong: it is damaged"
    assert refused(b"PK\3\4" + content) == "it does not begin like a model.npl0"
    assert refused(content[:4] + b"\2" + content[5:]) == "it is of version 2, and this reader reads version 1"


@pytest.mark.parametrize("precision", reader.PRECISIONS)
def test_damage_with_a_right_checksum_is_refused_or_read(precision):
    payload, random = to_npl0(small_network()[0], precision)[9:], np.random.default_rng(1)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(payload)
        for place in random.integers(0, len(payload), random.integers(1, 4)):
            damaged[place] = random.integers(256)
        outcomes.add(refused(sealed(bytes(damaged[: random.integers(1, len(payload) + 1)]))))
    for size in range(0, 200, 5):
        outcomes.add(refused(sealed(random.bytes(size + 1))))
    assert len(outcomes) > 5


def hostile(kind):
    """Return a file, with a right checksum, that asks for a lot."""
    encoder = Encoder()
    encoder.raw(2, 0)
    encoder.text("x")
    encoder.number(0, 0)
    shape = {"wide": (1 << 31,), "image": (3, 60_000, 60_000)}.get(kind, (1, 100, 100))
    for number in (len(shape), *shape, 900):
        encoder.number(0, number)
    if kind in ("many", "padded", "outputs"):
        encoder.raw(3, reader.KINDS.index("conv"))
        numbers = {"many": (1600, 100, 1, 0), "padded": (1, 1, 1, 1 << 20), "outputs": (1 << 31, 3, 1, 0)}[kind]
        for number in numbers:
            encoder.number(0, number)
        encoder.forget()
        encoder.number(reader.COUNTS, 2_000_000)
        for _ in range(10_000):
            encoder.bit(reader.COLUMNS, 0)
    elif kind == "empty":
        encoder.raw(3, reader.KINDS.index("flatten"))
        for _ in range(300):
            encoder.raw(3, reader.KINDS.index("linear"))
            encoder.number(0, 1670)
            for _ in range(2):
                encoder.forget()
                encoder.number(reader.COUNTS, 0)
                encoder.forget()
    else:
        encoder.raw(3, reader.KINDS.index("flatten"))
    return sealed(encoder.content())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured through /proc")
@pytest.mark.parametrize("kind", ["wide", "image", "many", "padded", "outputs", "empty"])
def test_a_hostile_file_is_refused_in_little_memory(kind, tmp_path):
    (tmp_path / "model.npl0").write_bytes(hostile(kind))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom reader import *\n"
        "try: load('model.npl0')\nexcept ModelFileError as e: print(e)\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    words = [sys.executable, "-c", code, str(Path(reader.__file__).parent)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert message.startswith("model.npl0 cannot be read: ")
    assert int(kilobytes) < 200_000


@given(st.binary(max_size=300))
@example(b"\n\x00\x00\x00\x00\x01")  # a convolution without weights
@settings(max_examples=40)
def test_any_bytes_are_refused_or_read(content):
    refused(content)
    refused(sealed(content))
