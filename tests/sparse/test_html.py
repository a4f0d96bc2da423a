"""The page on which one draws: in a real browser it answers what the network answers, and is safe and small."""

import gzip
import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.nn import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    ReLU,
    Standardise,
)
from npl0.sparse import ExportError, compact, to_html
from npl0.sparse.html import MOST_BYTES

ROOT = Path(__file__).parents[2]
LENET5 = ROOT / "experiments" / "results" / "main" / "lenet5-mnist-l0-750ccc39-s0"
# As a digit is named, but for one name, which must be shown and do nothing.
HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\">${1}"
CLASSES = ["0", "1", "2", "3", "4", "5", "6", HOSTILE, "8", "9"]

# Shows test images, draws a seven with the pointer, and clears the page, as its users would.
DRIVER = """
const texts = (parts) => [...parts].map((part) => part.textContent);
const coloured = () => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((red, i) => i % 4 === 0 && data[i + 3] > 128 && Math.abs(red - data[i + 2]) > 40).length;
};
const look = () => ({
  answer: element("answer").textContent, best: texts(document.querySelectorAll("#bars .best .name")),
  bars: [...element("bars").children].map((bar) => texts(bar.children)), coloured: coloured(),
  fired: element("fired").textContent,
});
  const empty = look(), logits = IMAGES.map(showImage), given = look();
  const move = (type, [x, y]) => {
    const box = pad.getBoundingClientRect();
    const place = { pointerId: 1, clientX: box.left + x * box.width, clientY: box.top + y * box.height };
    pad.dispatchEvent(new PointerEvent(type, { ...place, bubbles: true }));
  };
  // Small and in a corner: it is scaled and moved.
  move("pointerdown", [0.05, 0.1]);
  for (const point of [[0.15, 0.1], [0.25, 0.1], [0.22, 0.2], [0.18, 0.3], [0.15, 0.4]]) move("pointermove", point);
  move("pointerup", [0.15, 0.4]);
  move("pointermove", [0.9, 0.9]);
  await wait(100);
  const pixels = imageOf(strokes), drawn = look();
  document.querySelector("button").focus();
  document.activeElement.click();
  await wait(100);
  const wide = document.documentElement.scrollWidth > innerWidth;
  const safe = [document.title, document.images.length, performance.getEntriesByType("resource").length];
  return { empty, logits, given, pixels, drawn, cleared: look(), wide, safe };
"""


def test_in_a_browser_it_classifies_test_images_and_drawings(browse):
    network = npl0.load_model(LENET5)
    # The first of MNIST's test images; the other 69,960 take a while.
    with gzip.open(ROOT / "npl0" / "data" / "files" / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(16 + 40 * 784)[16:], np.uint8).reshape(40, 1, 28, 28)
    page = to_html(network, "float32", CLASSES)
    assert len(page) < 60_000
    seen = browse(page, DRIVER.replace("IMAGES", json.dumps(images.reshape(40, -1).tolist())))
    expected = network.predict(images)
    assert np.array_equal(np.argmax(seen["logits"], axis=1), expected.argmax(axis=1))
    assert np.abs(seen["logits"] - expected).max() <= 2e-5 * np.abs(expected).max()
    # The last image is shown.
    answer = CLASSES[expected[-1].argmax()]
    assert seen["given"]["best"] == [answer] and seen["given"]["answer"] == f"It looks like {answer}"
    shares = np.exp(expected[-1] - expected[-1].max())
    shown = [float(share.removesuffix("\N{NO-BREAK SPACE}%")) for _, _, share in seen["given"]["bars"]]
    np.testing.assert_allclose(shown, 100 * shares / shares.sum(), atol=0.06)
    fired = int(seen["given"]["fired"].split()[0].replace(",", ""))
    assert 500 < fired < sum(np.count_nonzero(weight.value) for weight in compact(network).weights)
    # The drawn seven, by its hostile name.
    assert seen["drawn"]["best"] == [HOSTILE] and seen["drawn"]["answer"] == f"It looks like {HOSTILE}"
    assert [bar[0] for bar in seen["drawn"]["bars"]] == CLASSES
    pixels = np.reshape(seen["pixels"], (28, 28)) / 255
    mass = [np.average(np.arange(28) + 0.5, weights=pixels.sum(axis=axis)) for axis in (1, 0)]
    np.testing.assert_allclose(mass, 14, atol=0.3)
    assert 19 <= np.count_nonzero(pixels.any(axis=1)) <= 21
    # Weights light up, and go out.
    assert min(seen["given"]["coloured"], seen["drawn"]["coloured"]) > 5000
    assert seen["cleared"] == seen["empty"] and seen["empty"]["answer"] == "" and seen["empty"]["coloured"] < 100
    assert not seen["wide"] and seen["safe"] == ["Draw an image", 0, 0]


def test_every_kind_of_layer_computes_the_same_in_a_browser(browse):
    layers = [Standardise(0.3, 0.2), Conv2d(1, 5, 3, padding=2), MaxPool2d(3, 2), ReLU(), BatchNorm(5), Dropout(0.5)]
    layers += [Conv2d(5, 4, 3, stride=2, padding=1, bias=False), BatchNorm(4), AvgPool2d(2, 1), Flatten(), ReLU()]
    network = Network(
        [*layers, Linear(48, 40), ReLU(), BatchNorm(40), Linear(40, 30), ReLU(), Linear(30, 3)], (1, 13, 17)
    )
    generator = np.random.default_rng(2)
    for name, array in network.state().items():
        if not name.startswith("standardise"):
            array[...] = generator.uniform(0.2, 1, array.shape) * generator.choice([-1, 1], array.shape)
        if name.endswith("running_var"):
            array[...] = abs(array)
    first, second, third, fourth, last = (weight.value for weight in network.weights)
    for weight in (first, second, third):
        weight[generator.random(weight.shape) < 0.5] = 0
    # Distances of 255 and its multiples and neighbours in the flattened array.
    fourth[...] = 0
    fourth.ravel()[np.cumsum([0, 255, 1, 254, 39, 256, 1])] = [1, 2, 3, -4, 5, 6, 7]
    # float16 holds these as they are: a normal and a subnormal number.
    last[...] = 0
    last[:, :15] = generator.choice([0.5, -(2.0**-24), -1.25, 3 * 2.0**-20], (3, 15)).astype(np.float32)
    images = generator.integers(0, 256, (6, 1, 13, 17), np.uint8)
    expected = network.predict(images)
    assert np.unique(expected).size == expected.size and fourth[:15].any()
    shown = json.dumps(images.reshape(6, -1).tolist())
    page = to_html(network, "float32")
    logits = browse(page, f"return {shown}.map(showImage)")
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
    # Scalars in half precision are read as NumPy reads them.
    halves = np.array([0.5, -(2.0**-24), -1.25, 3 * 2.0**-20, 65504, 2.0**-14, 0.1], np.float16)
    assert browse(page, f"return {halves.view(np.uint16).tolist()}.map(half)") == halves.tolist()


class Twice(Layer):
    def forward(self, x, context):
        return 2 * x, None


def test_what_a_page_cannot_hold_is_named():
    with pytest.raises(ExportError, match=r"shape \(3, 8, 8\), and one draws images of one channel; model.npl0 and C"):
        to_html(Network([Flatten(), Linear(192, 2)], (3, 8, 8)))
    with pytest.raises(
        ExportError, match=r"layer1 is a Twice, and a page holds only layers of npl0.nn; model.npz holds"
    ):
        to_html(Network([Twice(), Flatten(), Linear(64, 2)], (1, 8, 8)))
    network = Network([Flatten(), Linear(64, 2)], (1, 8, 8))
    with pytest.raises(ExportError, match="precision 'int8' is unknown: a page takes float16 and float32"):
        to_html(network, "int8")
    network.weights[0].value[0, 0] = 1e6
    with pytest.raises(ExportError, match=r"fc1.weight holds 1e\+06, which is too large for float16: take float32"):
        to_html(network, "float16")


def test_a_page_has_a_limit():
    network, larger = (Network([Flatten(), Linear(784, outputs)], (1, 28, 28)) for outputs in (18, 30))
    with pytest.raises(
        ExportError, match=r"bytes for 14,112 weights, and may take 100,000: take float16, or prune more"
    ):
        to_html(network, "float32")
    assert len(to_html(network)) < MOST_BYTES
    with pytest.raises(
        ExportError, match=r"bytes for 23,520 weights, and may take 100,000: prune more; model.npl0 and C"
    ):
        to_html(larger)


def parts(page):
    """Return a page without its data, its data without biases, and these."""
    before, text, after = re.fullmatch(r"(.* id=\"data\">)(.*?)(</script>.*)", page, re.DOTALL).groups()
    data = json.loads(text)
    biases = [np.frombuffer(b64decode(layer.pop("bias")), "<f4") for layer in data["layers"] if "bias" in layer]
    return (before, after, data), np.concatenate(biases)


def test_the_page_of_the_docs_is_the_one_that_is_written():
    network = npl0.load_model(LENET5)
    page = to_html(network, classes=network.header["classes"]).decode()
    kept = (ROOT / "docs" / "draw.html").read_text(encoding="utf-8")
    (written, biases), (shown, biases_shown) = parts(page), parts(kept)
    command = f"python -m npl0 export {LENET5.relative_to(ROOT)} --format html --out docs/draw.html"
    assert written == shown, f"write it again: {command}"
    # Constants of dead units went into biases, by sums whose last bit depends on the machine.
    np.testing.assert_allclose(biases_shown, biases, rtol=1e-5, atol=1e-7)
    assert "default-src 'none'" in page and not re.search("https?:", page)
