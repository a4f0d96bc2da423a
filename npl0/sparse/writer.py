"""Write a `model.npl0`: a pruned network in few bytes (docs/format.md), which `npl0/sparse/reader.py` reads.

Each method of `Encoder` writes what the method of the same name in the reader's `Decoder` reads.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from npl0.declare import ConfigError, suggest
from npl0.nn.base import Layer
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.ops.norm import EPSILON
from npl0.sparse import reader
from npl0.sparse.compact import compact, select_outputs
from npl0.sparse.reader import CODEBOOK_BITS, COLUMNS, CONTEXTS, COUNTS, EXPONENTS, FIELDS, GAPS, MANTISSAS, PRECISIONS

# The kinds of layers that exports know. Dropout does nothing in a finished network.
KINDS: dict[type[Layer], str] = {
    Standardise: "scale",
    Conv2d: "conv",
    Linear: "linear",
    ReLU: "relu",
    MaxPool2d: "maxpool",
    AvgPool2d: "avgpool",
    Flatten: "flatten",
    BatchNorm: "scale",
    Dropout: "",
}


class ExportError(ConfigError):
    """A network that a format cannot hold; the message names the layer and the formats that can."""


class Encoder:
    """The adaptive binary range encoder: the interval from `low`, of length `range`, shrinks to each bit's part."""

    def __init__(self) -> None:
        self.out, self.low, self.range = bytearray(), 0, 0xFFFFFFFF
        self.p, self.seen = [32768] * CONTEXTS, [0] * CONTEXTS

    def forget(self) -> None:
        self.seen = [min(seen, 4) for seen in self.seen]

    def _advance(self) -> None:
        """Carry into the bytes that are written, and write those that are settled."""
        if self.low >> 32:
            place, self.low = len(self.out) - 1, self.low & 0xFFFFFFFF
            while self.out[place] == 255:
                self.out[place] = 0
                place -= 1
            self.out[place] += 1
        while self.range < 1 << 24:
            self.out.append(self.low >> 24)
            self.low, self.range = (self.low << 8) & 0xFFFFFFFF, self.range << 8

    def bit(self, context: int, bit: int) -> None:
        p, seen = self.p[context], self.seen[context]
        bound = (self.range >> 16) * p
        if bit:
            self.range, self.p[context] = bound, p + (65536 - p) * 2 // (2 * seen + 3)
        else:
            self.low, self.range = self.low + bound, self.range - bound
            self.p[context] = p - p * 2 // (2 * seen + 3)
        self.seen[context] = min(seen + 1, 250)
        self._advance()

    def raw(self, bits: int, value: int) -> None:
        if bits > 16:
            self.raw(bits - 16, value >> 16)
            bits, value = 16, value & 0xFFFF
        self.range >>= bits
        self.low += value * self.range
        self._advance()

    def number(self, first: int, value: int) -> None:
        value += 1
        length = value.bit_length() - 1
        for i in range(length):
            self.bit(first + i, 1)
        self.bit(first + length, 0)
        for i in range(1, min(length, 2) + 1):
            self.bit(first + 40 + 4 * length + (value >> length - i + 1), value >> length - i & 1)
        if length > 2:
            self.raw(length - 2, value & (1 << length - 2) - 1)

    def text(self, text: str) -> None:
        content = text.encode()[:200]
        self.number(0, len(content))
        for byte in content:
            self.raw(8, byte)

    def array(self, name: str, array: np.ndarray, precision: str) -> None:
        rows = rounded(array.reshape(len(array), -1), precision, name)
        self.forget()
        self.number(COUNTS, int(np.count_nonzero(rows)))
        alive, bit = rows.any(axis=0), 0
        if rows.shape[1] > 1:
            for column in alive.tolist():
                self.bit(COLUMNS + bit, column)
                bit = int(column)
            rows = rows[:, alive]
        for gap in np.diff(np.flatnonzero(rows), prepend=-1).tolist():
            self.number(GAPS, gap - 1)
        if rows.any():
            self.values(rows[rows != 0], precision)
        self.forget()

    def values(self, values: np.ndarray, precision: str) -> None:
        if precision == "int8":
            scale = int8_scale(values)
            self.raw(32, int(scale.view(np.uint32)))
            for code in np.rint(values / scale).astype(int).tolist():
                self.number(EXPONENTS, abs(code) - 1)
                self.raw(1, code < 0)
            return
        if precision == "codebook":
            book, codes = np.unique(values.astype(np.float16), return_inverse=True)
            for code in np.resize(book, 1 << CODEBOOK_BITS).view(np.uint16).tolist():
                self.raw(16, code)
            for code in codes.tolist():
                self.raw(CODEBOOK_BITS, code)
            return
        exponent_bits, bits = FIELDS[precision]
        codes = _bits(values, precision)
        exponents = codes >> bits & (1 << exponent_bits) - 1
        highest, steps = int(exponents.max()), np.diff(codes, prepend=0)
        ascending = bool((steps >= 0).all())
        self.raw(1, ascending)
        if ascending:
            for step in steps.tolist():
                self.number(EXPONENTS, step)
            return
        self.raw(exponent_bits, highest)
        for code, exponent in zip(codes.tolist(), exponents.tolist(), strict=True):
            distance, top = highest - exponent, code >> bits - 2 & 3
            context = MANTISSAS + 4 * min(distance, 15)
            self.number(EXPONENTS, distance)
            self.bit(context + 1, top >> 1)
            self.bit(context + 2 + (top >> 1), top & 1)
            sign = code >> exponent_bits + bits
            self.raw(bits - 1, sign << bits - 2 | code & (1 << bits - 2) - 1)

    def content(self) -> bytes:
        """Return what was written; the zeros at its end are left out."""
        self.low += 0xFFFFFF
        self._advance()
        return bytes(self.out + bytes([self.low >> 24])).rstrip(b"\0")


def int8_scale(values: np.ndarray) -> np.float32:
    """Return the distance of two neighbouring int8 codes, such that the largest value has the code 127 or -127.

    It has 11 significant bits, so that the product with a code is exact.
    """
    mantissa, exponent = np.frexp(np.abs(values).max(initial=0) / 127)
    return np.ldexp(np.float32(np.ceil(mantissa * 2048) / 2048), exponent) or np.float32(1)


def rounded(values: np.ndarray, precision: str, name: str) -> np.ndarray:
    """Return values in float32 as they are after writing and reading; ExportError, with `name`, if one is too large."""
    values = values.astype(np.float32)
    if precision == "int8":
        scale = int8_scale(values)
        return np.rint(values / scale) * scale
    if precision == "codebook":
        result, kept = values.copy(), values != 0
        result[kept] = _cluster(values[kept])
        return result
    with np.errstate(over="ignore"):
        result = values.astype(precision).astype(np.float32)
    if not np.isfinite(result).all():
        raise ExportError(f"{name} holds {np.abs(values).max():g}, which is too large for {precision}: take float32")
    return result


def _cluster(values: np.ndarray) -> np.ndarray:
    """Replace values by the nearest of 16 means (k-means, which starts from quantiles), rounded to float16."""
    if not values.size:
        return values
    means = np.quantile(values, np.linspace(0, 1, 1 << CODEBOOK_BITS))
    for _ in range(50):
        means = np.unique(means)
        nearest = np.searchsorted((means[1:] + means[:-1]) / 2, values)
        sums, counts = np.bincount(nearest, values, len(means)), np.bincount(nearest, minlength=len(means))
        means = np.where(counts, sums / np.maximum(counts, 1), means)
    return means[nearest].astype(np.float16).astype(np.float32)


def _bits(values: np.ndarray, precision: str) -> np.ndarray:
    """Return the bits of values of a float type, as int64."""
    exponent_bits, bits = FIELDS[precision]
    return values.astype(precision).view(f"uint{1 + exponent_bits + bits}").astype(np.int64)


def _in_order(network: Network, precision: str) -> Network:
    """Return a network with the units of its inner layers in the order of the bits of their biases.

    Their order does not matter to what the network computes, and sorted numbers take fewer bytes.
    """
    outputs, inner = [], False
    for layer in reversed(network.layers):
        outputs.append(np.arange(len(layer.weight.value) if isinstance(layer, Affine) else 0))
        if isinstance(layer, Affine):
            if inner and layer.bias is not None:
                outputs[-1] = np.argsort(_bits(layer.bias.value, precision), kind="stable")
            inner = True
    return select_outputs(network, outputs[::-1])


def layer_kinds(network: Network, file: str) -> list[str]:
    """Return the kind of each layer, "" for one to leave out; ExportError if the file cannot hold one of them."""
    for layer in network.layers:
        if type(layer) not in KINDS:
            what = f"{layer.name} is a {type(layer).__name__}, and {file} holds only layers of npl0.nn"
            raise ExportError(f"{what}; model.npz holds any network")
    return [KINDS[type(layer)] for layer in network.layers]


def to_npl0(network: Network, precision: str = "float16", classes: Sequence[str] = ()) -> bytes:
    """Return the content of a `model.npl0` that holds the compacted network.

    Parameters
    ----------
    network : what training and pruning left; `compact` is applied to it.
    precision : of the weights that are kept: `float32`, `float16`, `int8` (one scale per layer) or `codebook` (16
        values per layer). Biases are float16, or float32 with `float32`.
    classes : the names of the classes; none are stored if they are the numbers from 0.

    Raises
    ------
    ExportError
        If a layer is not one of `npl0.nn`, or a weight is too large for the precision.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is unknown: {suggest(str(precision), PRECISIONS)}")
    beside = precision if precision in FIELDS else "float16"
    small = compact(network)
    kinds, encoder = layer_kinds(small, "model.npl0"), Encoder()
    small = _in_order(small, beside)
    encoder.raw(2, PRECISIONS.index(precision))
    encoder.text(small.name)
    names = [] if list(classes) == [str(i) for i in range(len(classes))] else classes
    encoder.number(0, len(names))
    for name in names:
        encoder.text(name)
    for number in (len(small.input_shape), *small.input_shape, sum(kind != "" for kind in kinds)):
        encoder.number(0, number)
    shape = small.input_shape
    for layer, kind in zip(small.layers, kinds, strict=True):
        if kind:
            encoder.raw(3, reader.KINDS.index(kind))
            _encode(encoder, layer, shape[0], precision, beside)
        shape = layer.output_shape(shape)
    payload = encoder.content()
    return reader.MAGIC + bytes([reader.VERSION]) + zlib.crc32(payload).to_bytes(4, "little") + payload


def _encode(encoder: Encoder, layer: Layer, channels: int, precision: str, beside: str) -> None:
    if isinstance(layer, MaxPool2d | AvgPool2d):
        numbers = (0, layer.size, layer.stride, 0)
    elif isinstance(layer, Conv2d):
        numbers = (layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    else:
        numbers = (layer.out_features,) if isinstance(layer, Linear) else ()
    for number in numbers:
        encoder.number(0, number)
    if isinstance(layer, Affine):
        encoder.array(layer.weight.name, layer.weight.value, precision)
        bias = np.zeros(len(layer.weight.value)) if layer.bias is None else layer.bias.value
        encoder.array(f"{layer.name}.bias", bias, beside)
    elif isinstance(layer, Standardise | BatchNorm):
        for array in straight_line(layer, channels):
            encoder.array(layer.name, array, "float32")


def straight_line(layer: Standardise | BatchNorm, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, per channel, the factor and the constant of a layer that computes `y = factor x + constant`; float32."""
    if isinstance(layer, Standardise):
        factor, constant = 1 / (255 * layer.std), -layer.mean / layer.std
    else:
        factor = layer.scale.value / np.sqrt(layer.running_var + EPSILON)
        constant = layer.shift.value - layer.running_mean * factor
    # One mean and deviation may stand for all channels.
    return tuple(np.broadcast_to(array, array.shape or channels).astype(np.float32) for array in (factor, constant))
