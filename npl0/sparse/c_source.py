"""Write a pruned network as a C99 file: constant arrays of the kept weights, loops over them, and no allocation.

A network is cut into groups: a convolution or linear layer, and what follows it channel by channel (ReLU, pooling). A
group computes one channel at a time, in the array `map`, and stores what pooling leaves of it, so that the maps of a
layer before pooling, which would need most of the memory, never exist together.

With `int8`, all arithmetic is on integers: weights of 8 bits, values between groups of 16 and sums of 32. Intervals are
followed from pixels of 0 to 255 through all weights, and the sums of a group are divided by the smallest power of two
with which no image can overflow.
"""

import re
from dataclasses import dataclass, field
from math import prod

import numpy as np

from npl0.nn.base import Layer, Shape
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, Standardise
from npl0.nn.network import Network
from npl0.sparse.c_template import HEADER, NARROW, SOURCE
from npl0.sparse.compact import compact
from npl0.sparse.writer import ExportError, int8_scale, layer_kinds, straight_line

# What values between groups and products of them with all weights of a unit may reach; the rest is for the bias.
_MOST_VALUE, _MOST_SUM = (1 << 15) - 1, 1 << 30
_WIDTHS = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "float": 4}


@dataclass(frozen=True)
class CSource:
    """The texts of a .h and a .c file, and the bytes of their constant arrays and of their static memory."""

    header: str
    source: str
    constants: int
    memory: int


@dataclass
class _Group:
    """A layer with weights (None: the image), its shapes, and the layers that follow it channel by channel."""

    layer: Affine | None
    input_shape: Shape
    shape: Shape
    following: list[tuple[str, Layer, Shape, Shape]] = field(default_factory=list)

    @property
    def padding(self) -> int:
        return self.layer.padding if isinstance(self.layer, Conv2d) else 0

    @property
    def codes(self) -> np.ndarray:
        """The weights as int8, as a matrix of int64."""
        weight = self.layer.weight.value.reshape(len(self.layer.weight.value), -1)
        return np.rint(weight / int8_scale(weight)).astype(np.int64)


def to_c(network: Network, precision: str = "int8", name: str = "model") -> CSource:
    """Return the compacted network in C, for images of pixels 0..255.

    Parameters
    ----------
    network : what training and pruning left; `compact` is applied to it.
    precision : `int8`, which needs no floating-point arithmetic, or `float32`.
    name : of the header, and the prefix of functions and constants; letters, digits and underscores.

    Raises
    ------
    ExportError
        If the name is not one of C's, or a layer is not of `npl0.nn` or has no integer form.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ExportError(f"{name!r} is no name in C: take letters, digits and underscores")
    if precision not in ("int8", "float32"):
        raise ExportError(f"precision {precision!r} is unknown: C takes int8 and float32")
    small = compact(network)
    groups = [_Group(None, small.input_shape, small.input_shape)]
    # The maps of a group keep their shape where the network flattens them.
    shape = maps = small.input_shape
    for layer, kind in zip(small.layers, layer_kinds(small, "a C file"), strict=True):
        before, shape = shape, layer.output_shape(shape)
        if isinstance(layer, Affine):
            groups.append(_Group(layer, before, shape))
            maps = shape
        elif kind not in ("", "flatten"):
            after = maps if kind in ("relu", "scale") else shape
            groups[-1].following.append((kind, layer, maps, after))
            maps = after
    writer = _Writer(precision == "int8")
    for group, after in zip(groups, [*groups[1:], None], strict=True):
        writer.add(group, after)
    texts = {
        "title": f"{network.name} of {sum(np.count_nonzero(w.value) for w in small.weights):,} weights in {precision}",
        "name": name,
        "NAME": name.upper(),
        "inputs": prod(small.input_shape),
        "shape": " x ".join(map(str, small.input_shape)),
        "outputs": prod(small.output_shape),
        "scale": writer.scale,
        "value": "int16_t" if precision == "int8" else "float",
        "sum": "int32_t" if precision == "int8" else "float",
        "narrow": NARROW if precision == "int8" else "",
        "constants": "".join(writer.constants),
        "code": "\n\n    ".join(writer.code),
        **writer.sizes,
    }
    memory = _WIDTHS[texts["value"]] * (texts["a"] + texts["b"]) + 4 * (texts["map"] + texts["outputs"])
    return CSource(HEADER.format(**texts), SOURCE.format(**texts), writer.bytes, memory)


class _Writer:
    """Collects constants and code, group by group; if all is integers, it follows the intervals of the values.

    A value v between two groups stands for `scale * v`, and lies between `low` and `high`, an array entry per channel.
    """

    def __init__(self, integers: bool) -> None:
        self.integers, self.constants, self.code, self.bytes = integers, [], [], 0
        self.scale, self.low, self.high = 1.0, np.zeros(1), np.zeros(1)
        self.sizes = {"a": 1, "b": 1, "map": 1}

    def add(self, group: _Group, after: _Group | None) -> None:
        """Add a group that `after` (None: the caller) reads."""
        number = len(self.code)
        source, target = ("b", "a") if number % 2 == 0 else ("a", "b")
        area, shape = prod(group.shape[1:]), group.shape
        self.sizes["map"] = max(self.sizes["map"], area)
        lines = self._weights(group, source, area) if group.layer else self._image(group, area)
        for kind, layer, before, shape in group.following:
            lines += self._following(kind, layer, before, shape)
        lines += self._store(shape, after, target)
        head = [f"for (int k = n = 0; k < {group.shape[0]}; k++) {{"]
        if after and after.padding:
            head.insert(0, f"memset({target}, 0, sizeof {target});")
        names = [layer.name for layer in (group.layer, *(entry[1] for entry in group.following)) if layer]
        title = f"/* {', '.join(names) or 'image'}: {' x '.join(map(str, shape))} */"
        self.code.append("\n    ".join([title, *head, *(f"    {line}" for line in lines), "}"]))

    def array(self, name: str, kind: str, values: np.ndarray) -> None:
        """Add a constant array of a type of C."""
        texts = [f"{value:.8e}f" if kind == "float" else str(int(value)) for value in values] or ["0"]
        lines = ",\n    ".join(", ".join(texts[i : i + 16]) for i in range(0, len(texts), 16))
        self.constants.append(f"static const {kind} {name}[{len(texts)}] = {{\n    {lines}}};\n")
        self.bytes += _WIDTHS[kind] * len(texts)

    def _image(self, group: _Group, area: int) -> list[str]:
        self.low, self.high = np.zeros(group.shape[0]), np.full(group.shape[0], 255.0)
        return [f"for (int i = 0; i < {area}; i++) map[i] = image[k * {area} + i];"]

    def _weights(self, group: _Group, source: str, area: int) -> list[str]:
        layer, name = group.layer, group.layer.name
        bias = np.zeros(group.shape[0]) if layer.bias is None else layer.bias.value.astype(float)
        rows, kind, shift = layer.weight.value.reshape(len(bias), -1), "float", 0
        if self.integers:
            self.scale, rows, kind = self.scale * float(int8_scale(rows)), group.codes, "int8_t"
            bias = np.rint(bias / self.scale)
            self._follow(group, rows, bias)
            # 16 bits of the largest bias are enough.
            shift = max(0, int(np.abs(bias).max()).bit_length() - 15)
            self.array(f"{name}_bias", "int16_t", np.clip(np.rint(bias / 2**shift), -_MOST_VALUE, _MOST_VALUE))
        else:
            self.array(f"{name}_bias", "float", bias)
        counts, gaps, weights = [], [], []
        for row in rows:
            column = 0
            for place in np.flatnonzero(row).tolist():
                for gap in [255] * ((place - column) // 255) + [(place - column) % 255]:
                    gaps.append(gap)
                    weights.append(0)
                weights[-1], column = row[place], place
            counts.append(len(gaps) - sum(counts))
        self.array(f"{name}_count", "uint8_t" if max(counts) < 256 else "uint16_t", counts)
        self.array(f"{name}_gap", "uint8_t", gaps)
        self.array(f"{name}_weight", kind, weights)
        start = f"(sum){name}_bias[k] * {1 << shift}" if self.integers else f"{name}_bias[k]"
        lines = [f"const int end = n + {name}_count[k];", "int column = 0;"]
        loop = ["for (; n < end; n++) {", f"    const sum w = {name}_weight[n];", f"    column += {name}_gap[n];"]
        if not isinstance(layer, Conv2d):
            return [*lines, f"sum s = {start};", *loop, f"    s += w * {source}[column];", "}", "map[0] = s;"]
        size, step, (_, height, width) = layer.kernel_size, layer.stride, group.input_shape
        (_, out_height, out_width), padding = group.shape, 2 * layer.padding
        area_in, width = (height + padding) * (width + padding), width + padding
        tap = f"column / {size**2} * {area_in} + column % {size**2} / {size} * {width} + column % {size}"
        x = "x" if step == 1 else f"x * {step}"
        return [
            *lines,
            f"for (int i = 0; i < {area}; i++) map[i] = {start};",
            *loop,
            f"    const value *from = {source} + {tap};",
            f"    for (int y = 0; y < {out_height}; y++)",
            f"        for (int x = 0; x < {out_width}; x++)",
            f"            map[y * {out_width} + x] += w * from[y * {step * width} + {x}];",
            "}",
        ]

    def _follow(self, group: _Group, codes: np.ndarray, bias: np.ndarray) -> None:
        """Set the interval of the sums; ExportError if a sum could overflow."""
        low, high = (np.repeat(bound, codes.shape[1] // len(bound)) for bound in (self.low, self.high))
        if group.padding:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        positive, negative = np.maximum(codes, 0), np.minimum(codes, 0)
        self.low, self.high = (bias + positive @ a + negative @ b for a, b in ((low, high), (high, low)))
        if (np.abs(bias) + np.abs(codes) @ np.maximum(-low, high)).max() >= 2 * _MOST_SUM - 1:
            raise ExportError(f"{group.layer.name} can overflow 32 bits: take float32")

    def _following(self, kind: str, layer: Layer, before: Shape, shape: Shape) -> list[str]:
        """Return the lines of a layer that works on the map, in place, and follow the interval through it."""
        area = prod(shape[1:])
        if kind == "relu":
            self.low, self.high = np.maximum(self.low, 0), np.maximum(self.high, 0)
            return [f"for (int i = 0; i < {area}; i++) map[i] = map[i] > 0 ? map[i] : 0;"]
        if kind == "scale":
            factor, constant = (array.astype(float) for array in straight_line(layer, before[0]))
            if self.integers:
                if not isinstance(layer, Standardise) or self.scale != 1:
                    raise ExportError(f"{layer.name}, a {type(layer).__name__}, has no integer form: take float32")
                # In 24 bits; `_store` leaves 16 of them.
                self.scale = np.abs([constant, constant + 255 * factor]).max() / (1 << 23)
                factor, constant = np.rint(factor / self.scale), np.rint(constant / self.scale)
                self.low, self.high = constant, constant + 255 * factor
            for name, values in {"factor": factor, "constant": constant}.items():
                self.array(f"{layer.name}_{name}", "int32_t" if self.integers else "float", values)
            i = "k" if len(factor) == before[0] else f"k * {area} + i"
            line = f"map[i] = map[i] * {layer.name}_factor[{i}] + {layer.name}_constant[{i}];"
            return [f"for (int i = 0; i < {area}; i++) {line}"]
        # A window begins where its result is written or behind that place, so nothing is read that was overwritten.
        size, step, width = layer.size, layer.stride, before[2]
        cell = f"map[(y * {step} + i) * {width} + x * {step} + j]"
        mean = f"s / {size * size}" if self.integers else f"s * {1 / size**2:.9g}f"
        each = f"if ({cell} > s) s = {cell};" if kind == "maxpool" else f"s += {cell};"
        return [
            f"for (int y = 0; y < {shape[1]}; y++)",
            f"    for (int x = 0; x < {shape[2]}; x++) {{",
            f"        sum s = {f'map[y * {step * width} + x * {step}]' if kind == 'maxpool' else 0};",
            f"        for (int i = 0; i < {size}; i++)",
            f"            for (int j = 0; j < {size}; j++) {each}",
            f"        map[y * {shape[2]} + x] = {'s' if kind == 'maxpool' else mean};",
            "    }",
        ]

    def _store(self, shape: Shape, after: _Group | None, target: str) -> list[str]:
        """Return the lines that store a map for the next group, in 16 bits and inside its padding."""
        area = prod(shape[1:])
        if after is None:
            return [f"for (int i = 0; i < {area}; i++) logits[k * {area} + i] = map[i];"]
        value = "map[{}]"
        if self.integers:
            most = min(_MOST_VALUE, _MOST_SUM // max(1, np.abs(after.codes).sum(axis=1).max()))
            shift = max(0, int(np.ceil(np.log2(max(1, np.abs([self.low, self.high]).max() / most)))))
            self.scale *= 2**shift
            self.low, self.high = np.floor(self.low / 2**shift), np.ceil(self.high / 2**shift)
            value = f"narrow(map[{{}}], {shift})"
        # Behind a flattening, a channel of the next group is a value of this one.
        padding = after.padding
        sides = [side + 2 * padding for side in shape[1:]]
        self.sizes[target] = max(self.sizes[target], shape[0] * prod(sides))
        if not padding:
            return [f"for (int i = 0; i < {area}; i++) {target}[k * {area} + i] = {value.format('i')};"]
        height, width = sides
        place = f"{target}[(k * {height} + y + {padding}) * {width} + x + {padding}]"
        return [
            f"for (int y = 0; y < {shape[1]}; y++)",
            f"    for (int x = 0; x < {shape[2]}; x++) {place} = {value.format(f'y * {shape[2]} + x')};",
        ]
