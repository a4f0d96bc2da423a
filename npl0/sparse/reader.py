"""Read a `model.npl0` and classify images with it: one file that needs NumPy alone, made to be copied.

    model = load("model.npl0")
    classes = model.predict(images).argmax(axis=1)      # images: (N, channels, height, width), pixels 0..255

or `python reader.py model.npl0 images.npy`. docs/format.md describes the format. Nothing in a file is executed; a file
that is damaged, or that would need too much memory, raises `ModelFileError`.
"""

import sys
import zlib
from math import prod

import numpy as np

MAGIC, VERSION = b"npl0", 1
PRECISIONS = ("float32", "float16", "int8", "codebook")
KINDS = ("scale", "conv", "linear", "relu", "maxpool", "avgpool", "flatten")
FIELDS = {"float32": (8, 23), "float16": (5, 10)}  # bits of exponent and mantissa
# Where the contexts of gaps, exponents (or magnitudes), counts, mantissas and columns begin; a number takes up to 192.
GAPS, EXPONENTS, COUNTS, MANTISSAS, COLUMNS, CONTEXTS = 0, 192, 384, 576, 640, 642
CODEBOOK_BITS = 4
# What this reader takes, so that it needs less than 200 MB: bytes, weights, weights other than 0, inputs of a unit, and
# numbers that the windows of one image hold.
MOST_BYTES, MOST_WEIGHTS, MOST_KEPT, MOST_INPUTS, MOST_VALUES = 1 << 24, 1 << 24, 1 << 21, 1 << 18, 1 << 22


class ModelFileError(ValueError):
    """The file is not a `model.npl0`, is damaged, or needs another reader or more memory."""


def require(condition: bool, fault: str) -> None:
    """Raise `ModelFileError` with the fault unless the condition holds."""
    if not condition:
        raise ModelFileError(fault)


class Decoder:
    """An adaptive binary range decoder: each bit is coded by the probability that its context has learned.

    A context holds p, the probability of a 1 times 65,536, and how many bits it has seen. The bit divides the range in
    the proportion of p; the code number lies in the part of the bit that was written.
    """

    def __init__(self, payload: bytes) -> None:
        self.payload, self.position, self.range = payload, 4, 0xFFFFFFFF
        self.code = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")
        self.p, self.seen = [32768] * CONTEXTS, [0] * CONTEXTS

    def forget(self) -> None:
        """Give what the contexts have seen the weight of four bits."""
        self.seen = [min(seen, 4) for seen in self.seen]

    def _renormalise(self) -> None:
        while self.range < 1 << 24:
            byte = self.payload[self.position : self.position + 1] or b"\0"  # zeros at the end are not stored
            self.code, self.range, self.position = self.code << 8 | byte[0], self.range << 8, self.position + 1

    def bit(self, context: int) -> int:
        """Decode a bit, and let its context learn it."""
        p, seen = self.p[context], self.seen[context]
        bound = (self.range >> 16) * p
        if self.code < bound:
            bit, self.range = 1, bound
            self.p[context] = p + (65536 - p) * 2 // (2 * seen + 3)
        else:
            bit, self.code, self.range = 0, self.code - bound, self.range - bound
            self.p[context] = p - p * 2 // (2 * seen + 3)
        self.seen[context] = min(seen + 1, 250)
        if self.range < 1 << 24:
            self._renormalise()
        return bit

    def raw(self, bits: int) -> int:
        """Decode an integer of this many bits, at most 16 of which are decoded at a time, that no model predicts."""
        if bits > 16:
            return self.raw(bits - 16) << 16 | self.raw(16)
        self.range >>= bits
        value = min(self.code // self.range, (1 << bits) - 1)
        self.code -= value * self.range
        self._renormalise()
        return value

    def number(self, first: int) -> int:
        """Decode an integer >= 0 (Elias gamma): its length, its two highest bits by contexts, the others raw."""
        length = 0
        while self.bit(first + length):
            length += 1
            require(length <= 32, "it holds a number of more than 32 bits")
        value = 1
        for _ in range(min(length, 2)):
            value = value << 1 | self.bit(first + 40 + 4 * length + value)
        return (value << length - 2 | self.raw(length - 2) if length > 2 else value) - 1

    def text(self) -> str:
        """Decode a text of at most 200 bytes."""
        return bytes(self.raw(8) for _ in range(min(self.number(0), 200))).decode("utf-8", "replace")

    @np.errstate(all="ignore")  # what is not finite is refused
    def array(self, shape: tuple[int, ...], precision: str) -> np.ndarray:
        """Decode an array of zeros and of the values between them; float32."""
        self.forget()
        (rows, width), count = (shape[0], prod(shape[1:])), self.number(COUNTS)
        fault = f"{count:,} values in an array of shape {shape} are more than it holds or this reader takes"
        require(width <= MOST_INPUTS and count <= min(rows * width, MOST_KEPT), fault)
        alive, bit = np.ones(width, bool), 0
        for column in range(width if width > 1 else 0):
            alive[column] = bit = self.bit(COLUMNS + bit)
        columns, place, places = np.flatnonzero(alive), -1, np.zeros(count, np.int64)
        for i in range(count):
            places[i] = place = place + 1 + self.number(GAPS)
            require(place < rows * len(columns), "a value lies outside its array")
        array = np.zeros((rows, width), np.float32)
        if count:
            array[places // len(columns), columns[places % len(columns)]] = self.values(count, precision)
        require(np.isfinite(array).all(), "it holds NaN or infinity")
        self.forget()
        return array.reshape(shape)

    def values(self, count: int, precision: str) -> np.ndarray:
        """Decode values other than 0."""
        codes = np.zeros(count, np.uint32)
        if precision == "int8":
            scale = np.uint32(self.raw(32)).view(np.float32)
            for i in range(count):
                codes[i] = min(self.number(EXPONENTS), 126) << 1 | self.raw(1)
            return ((codes >> 1).astype(np.float32) + 1) * np.where(codes & 1, -scale, scale)
        if precision == "codebook":
            book = np.array([self.raw(16) for _ in range(1 << CODEBOOK_BITS)], np.uint16).view(np.float16)
            return book[[self.raw(CODEBOOK_BITS) for _ in range(count)]]
        exponent_bits, bits = FIELDS[precision]
        integers = f"uint{1 + exponent_bits + bits}"
        if self.raw(1):  # the bits of the values are in ascending order
            steps = np.fromiter((self.number(EXPONENTS) for _ in range(count)), np.int64, count)
            return np.cumsum(steps).astype(integers).view(precision)
        highest = self.raw(exponent_bits)
        for i in range(count):
            distance = self.number(EXPONENTS)
            context, top = MANTISSAS + 4 * min(distance, 15), 1
            for _ in range(2):
                top = top << 1 | self.bit(context + top)
            sign, rest = divmod(self.raw(bits - 1), 1 << bits - 2)
            codes[i] = (sign << exponent_bits | max(highest - distance, 0)) << bits | (top & 3) << bits - 2 | rest
        return codes.astype(integers).view(precision)


class Model:
    """A network that was read from a file; `layers` holds pairs (kind, arguments), weights as arrays with zeros."""

    def __init__(self, decoder: Decoder) -> None:
        self.precision, self.name = PRECISIONS[decoder.raw(2)], decoder.text()
        self.classes = [decoder.text() for _ in range(min(decoder.number(0), 10_000))]
        self.input_shape = shape = tuple(decoder.number(0) for _ in range(min(decoder.number(0), 3)))
        self.layers, self._most, self._room = [], 1, MOST_WEIGHTS
        for _ in range(min(decoder.number(0), 1000)):
            shape = self._add(KINDS[min(decoder.raw(3), len(KINDS) - 1)], decoder, shape)
        self.output_shape = shape

    def _add(self, kind: str, decoder: Decoder, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Read a layer that takes this shape, and return the shape that it makes."""
        fault = f"layer {len(self.layers) + 1}, {kind}, of an input of shape {shape}"
        dimensions = {"linear": 1, "conv": 3, "maxpool": 3, "avgpool": 3}.get(kind, len(shape))
        require(0 < dimensions == len(shape), f"{fault} is impossible")
        given, channels, inputs, arrays = {}, shape[0], prod(shape), {}
        if dimensions == 3 and kind not in ("scale", "relu", "flatten"):
            outputs, size, stride, padding = (decoder.number(0) for _ in range(4))
            given = {"size": size, "stride": max(stride, 1), "padding": padding}
            sides = [(side + 2 * padding - size) // given["stride"] + 1 for side in shape[1:]]
            # The windows of an image are copied side by side.
            shape, inputs = (outputs if kind == "conv" else channels, *sides), channels * size**2 * prod(sides)
            arrays = {"weight": (outputs, channels, size, size), "bias": (outputs, 1)} if kind == "conv" else {}
        elif kind == "linear":
            shape = (decoder.number(0),)
            arrays = {"weight": (*shape, channels), "bias": (*shape, 1)}
        elif kind == "flatten":
            shape = (inputs,)
        elif kind == "scale":
            arrays = {"factor": (channels, 1), "constant": (channels, 1)}
        self._most = max(self._most, inputs, prod(shape))
        self._room -= sum(map(prod, arrays.values()))
        fits = min(*shape, inputs) > 0 and self._most <= MOST_VALUES and self._room >= 0
        require(fits, f"{fault} has no output, or needs more memory than this reader takes")
        for name, sizes in arrays.items():
            beside = "float32" if kind == "scale" or self.precision == "float32" else "float16"
            given[name] = decoder.array(sizes, self.precision if name == "weight" else beside)
        self.layers.append((kind, given))
        return shape

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the logits, (N, classes), of images, (N, *input_shape); pixels are 0..255."""
        if images.shape[1:] != self.input_shape:
            raise ValueError(f"images must have the shape (N, {str(self.input_shape)[1:-1]}), not {images.shape}")
        step, logits = max(1, MOST_VALUES // self._most), np.zeros((len(images), *self.output_shape), np.float32)
        for first in range(0, len(images), step):
            # As in npl0, the batch is the last axis: (channels, height, width, N).
            x = np.moveaxis(images[first : first + step].astype(np.float32), 0, -1)
            for kind, given in self.layers:
                x = self._apply(kind, given, x)
            logits[first : first + step] = np.moveaxis(x, -1, 0)
        return logits

    def _apply(self, kind: str, given: dict, x: np.ndarray) -> np.ndarray:
        column = (-1,) + (1,) * (x.ndim - 1)
        if kind == "scale":
            return x * given["factor"].reshape(column) + given["constant"].reshape(column)
        if kind == "relu":
            return np.maximum(x, 0)
        if kind == "flatten":
            return x.reshape(-1, x.shape[-1])
        if kind == "linear":
            return given["weight"] @ x + given["bias"]
        size, stride, padding = given["size"], given["stride"], given["padding"]
        x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
        height, width = ((side - size) // stride * stride + 1 for side in x.shape[1:3])
        if kind == "conv":
            # Row by row what the taps (channel, i, j) with weights see.
            taps = given["weight"].any(axis=0)
            seen = np.empty((taps.sum(), *x[0, :height:stride, :width:stride].shape), np.float32)
            for row, (c, i, j) in zip(seen, np.argwhere(taps), strict=True):
                row[...] = x[c, i : i + height : stride, j : j + width : stride]
            y = given["weight"][:, taps] @ seen.reshape(len(seen), prod(seen.shape[1:]))
            return y.reshape(len(y), *seen.shape[1:]) + given["bias"].reshape(column)
        windows = [x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]
        return np.max(windows, axis=0) if kind == "maxpool" else np.mean(windows, axis=0)


def parse(content: bytes) -> Model:
    """Return the model in the content of a file; `ModelFileError` if it holds none."""
    require(content[:4] == MAGIC and len(content) > 9, "it does not begin like a model.npl0")
    require(content[4] == VERSION, f"it is of version {content[4]}, and this reader reads version {VERSION}")
    require(len(content) <= MOST_BYTES, f"it holds more than the {MOST_BYTES:,} bytes that this reader takes")
    require(zlib.crc32(content[9:]) == int.from_bytes(content[5:9], "little"), "its checksum is wrong: it is damaged")
    return Model(Decoder(content[9:]))


def load(path: str) -> Model:
    """Return the model in a file; `ModelFileError`, which names the file and what is wrong with it, or OSError."""
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    try:
        return parse(content)
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None


if __name__ == "__main__":
    model = load(sys.argv[1])
    for index in model.predict(np.load(sys.argv[2])).argmax(axis=1):
        print(model.classes[index] if index < len(model.classes) else index)
