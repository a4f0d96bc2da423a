"""Prediction by the kept weights alone."""

import math
from typing import Any

import numpy as np

from npl0.nn.base import Context, Layer, Shape
from npl0.nn.layers import Dropout, Flatten, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.runtime.kernels import inlined, kernel
from npl0.runtime.threads import Workers
from npl0.sparse.compact import compact
from npl0.sparse.convolution import TILE, aligned, convolve, convolve_one
from npl0.sparse.layers import PREDICTION, SparseConv2d, SparseLinear, sparse_layer
from npl0.sparse.vector import LANES, larger, load, splat, store

# Fewer images than this are faster one by one than side by side.
FEW = 4
# The most images that a thread takes at a time.
SHARD = 64
# A sparse layer with the ReLU and the pooling behind it: the shapes of x and y; of a convolution, k and padding (of a
# linear layer, k is 0); and where its parts of the arrays of all stages begin.
STAGE = np.dtype([(name, np.int64) for name in (
    *("channels", "height", "width", "filters", "out_h", "out_w", "size", "padding", "pool", "relu"),
    *("used", "first", "kept", "bias"),
)])  # fmt: skip


@inlined
def _connect(x, lanes, w, first, columns, bias, floor, y):
    """Fill y (out, lanes) with max(W x + b, floor), lanes being `LANES` or 1."""
    for o in range(len(bias)):
        if lanes == 1:
            total = bias[o]
            for t in range(first[o], first[o + 1]):
                total += w[t] * x[columns[t]]
            y[o] = max(total, floor)
        else:
            v = splat(bias[o])
            for t in range(first[o], first[o + 1]):
                v = v + splat(w[t]) * load(x, columns[t] * LANES)
            store(y, o * LANES, larger(splat(floor), v))


@kernel
def load_kernel(images, scale, shift, blocks):
    """Write images (n, features), scaled by channels, into blocks (n / lanes, features, lanes)."""
    number, features, lanes = blocks.shape
    area = features // len(scale)
    for i in range(number):
        count = min(lanes, len(images) - i * lanes)
        for c in range(len(scale)):
            for f in range(c * area, (c + 1) * area):
                for e in range(lanes):
                    blocks[i, f, e] = images[i * lanes + e, f] * scale[c] + shift[c] if e < count else 0


@kernel
def run_kernel(blocks, stages, used, first, offset, w, bias, one, other, window, sums, out):
    """Run blocks (number, features, lanes) through the stages, and write what comes out (n, outputs).

    A block, of `LANES` images or of one, passes through all stages while `one` and `other`, of which each stage reads
    one and writes the other, are in the cache.
    """
    lanes = blocks.shape[2]
    for i in range(len(blocks)):
        x, y, z = blocks[i].reshape(-1), one, other
        for s in range(len(stages) - 1):
            p, q = stages[s], stages[s + 1]
            floor, biases = w.dtype.type(0 if p.relu else -np.inf), bias[p.bias : q.bias]
            read, starts = used[p.used : q.used], first[p.first : q.first]
            weights, places, groups = w[p.kept : q.kept], offset[p.kept : q.kept], starts.reshape(-1, p.filters + 1)
            inputs, outputs = x[: p.channels * p.height * p.width * lanes], y[: p.filters * p.out_h * p.out_w * lanes]
            if p.size == 0:
                _connect(x, lanes, weights, starts, places, biases, floor, y)
            elif lanes == 1:
                x3, y3 = inputs.reshape(p.channels, p.height, p.width), outputs.reshape(p.filters, p.out_h, p.out_w)
                taps = (weights, read, groups, places, biases, p.size, p.padding, floor, p.pool)
                convolve_one(x3, *taps, window, sums, y3)
            else:
                x4 = inputs.reshape(p.channels, p.height, p.width, lanes)
                y4 = outputs.reshape(p.filters, p.out_h, p.out_w, lanes)
                taps = (weights, read, groups, places, biases, p.size, p.padding, floor, p.pool)
                convolve(x4, *taps, window, sums, y4)
            x, y, z = y, z, y
        for e in range(min(lanes, len(out) - i * lanes)):
            for f in range(out.shape[1]):
                out[i * lanes + e, f] = x[f * lanes + e]


class _Dense:
    """A layer that computes as it is."""

    def __init__(self, layer: Layer, shape: Shape, dtype: np.dtype) -> None:
        self.layer, self.shape, self.dtype, self.prepared = layer, shape, dtype, layer.prepare()
        self.macs = layer.macs(shape)

    def run(self, x: np.ndarray, lanes: int) -> np.ndarray:
        """Return what x (n, features) becomes, (n, outputs)."""
        x = np.array(np.moveaxis(x.reshape(-1, *self.shape), 0, -1), self.dtype, order="C")
        y, _ = self.layer.forward(x, Context(prepared=self.prepared))
        return y.reshape(-1, y.shape[-1]).T


class _Stages:
    """Sparse layers in a row, as arrays for the kernels."""

    def __init__(self, dtype: np.dtype, shape: Shape) -> None:
        self.dtype, self.macs, self.rows = dtype, 0, list[dict[str, int]]()
        self.scale, self.shift = np.ones(shape[0], dtype), np.zeros(shape[0], dtype)
        # Of every stage: used, first, w, bias, and the offsets in a window and in a whole map.
        self.arrays: list[list[np.ndarray]] = [[] for _ in range(6)]
        self.features, self.window, self.sums = math.prod(shape), 1, 1
        # Arrays to work in, each set for one thread at a time.
        self.scratch: list[tuple[np.ndarray, ...]] = []

    def add(self, layer: SparseConv2d | SparseLinear, shape: Shape) -> None:
        """Append a layer that reads this shape."""
        out, weight = layer.output_shape(shape), layer.weight.value
        row = dict(zip(STAGE.names, (*shape, 1, 1)[:3] + (*out, 1, 1)[:3] + (0, 0, 1, 0), strict=False))
        row |= zip(STAGE.names[-4:], (sum(map(len, arrays)) for arrays in self.arrays), strict=False)
        bias = np.zeros(out[0], self.dtype) if layer.bias is None else layer.bias.value
        if isinstance(layer, SparseConv2d):
            taps, row["size"], row["padding"] = layer.taps, layer.kernel_size, layer.padding
            height, width = (side + 2 * layer.padding for side in shape[1:])
            _, c, i, j = np.unravel_index(taps.index, weight.shape)
            places = taps.offset, (np.searchsorted(taps.used, c) * height + i) * width + j
            arrays = taps.used, taps.first.reshape(-1), weight.take(taps.index), bias, *places
            window, sums = taps.scratch
            self.window = max(self.window, window, len(taps.used) * height * width + 2 * TILE)
            self.sums = max(self.sums, sums, out[0] * (out[1] * width + 2 * TILE))
        else:
            first = np.searchsorted(layer.rows, np.arange(out[0] + 1))
            arrays = layer.rows[:0], first, weight.take(layer.index), bias, layer.columns, layer.columns
        self.rows.append(row)
        for all_, array in zip(self.arrays, arrays, strict=True):
            all_.append(array)
        self.macs += len(layer.index) * math.prod(out[1:])

    def pool(self) -> None:
        """Let the last layer take the maxima of its cells of 2 x 2."""
        row = self.rows[-1]
        row |= {"pool": 2, "out_h": row["out_h"] // 2, "out_w": row["out_w"] // 2}

    def finish(self) -> None:
        """Make arrays of the lists."""
        used, first, w, bias, in_window, in_map = map(np.concatenate, self.arrays)
        ends = dict.fromkeys(STAGE.names, 0) | dict(
            zip(STAGE.names[-4:], map(len, (used, first, w, bias)), strict=True)
        )
        self.stages = np.array([tuple(row.values()) for row in (*self.rows, ends)], STAGE)
        self.offsets = {LANES: in_window.astype(np.int32), 1: in_map.astype(np.int32)}
        self.arrays = used, first, w, bias
        sizes = [row["filters"] * row["out_h"] * row["out_w"] for row in self.rows]
        self.outputs, self.size = sizes[-1], max(sizes)

    def run(self, x: np.ndarray, lanes: int) -> np.ndarray:
        """Return what x (n, features) becomes, (n, outputs)."""
        sizes = (SHARD * self.features, self.size * LANES, self.size * LANES, self.window, self.sums)
        scratch = self.scratch.pop() if self.scratch else tuple(aligned(size, self.dtype) for size in sizes)
        number = -(-len(x) // lanes)
        blocks = scratch[0][: number * self.features * lanes].reshape(number, self.features, lanes)
        load_kernel(x, self.scale, self.shift, blocks)
        out = np.empty((len(x), self.outputs), self.dtype)
        used, first, w, bias = self.arrays
        run_kernel(blocks, self.stages, used, first, self.offsets[lanes], w, bias, *scratch[1:], out)
        self.scratch.append(scratch)
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "scratch": []}


class SparseNetwork:
    """A pruned network that predicts by its kept weights alone.

    The network is compacted first (`npl0.compact`). Convolutions with stride 1 and linear layers compute sparsely where
    that pays, with the ReLU and the pooling over 2 x 2 behind them; other layers compute as they are. The logits are
    those of the network up to rounding, and do not depend on the number of threads.

    Attributes
    ----------
    network : the compacted network.
    macs : the multiply-adds of one image: with kept weights in the sparse layers, all of them in the others.
    """

    def __init__(self, network: Network) -> None:
        self.network = network = compact(network)
        self.parts: list[_Stages | _Dense] = []
        shape, stages = network.input_shape, None
        for layer, following in zip(network.layers, (*network.layers[1:], None), strict=True):
            sparse, behind = _sparse(layer), bool(stages and stages.rows)
            if not stages and (sparse or (isinstance(layer, Standardise) and _sparse(following))):
                stages = _Stages(network.dtype, shape)
                self.parts.append(stages)
            if isinstance(layer, Dropout) or (isinstance(layer, Flatten) and stages):
                pass
            elif sparse:
                stages.add(sparse, shape)
            elif isinstance(layer, Standardise) and stages:
                stages.scale *= 1 / (255 * layer.std)
                stages.shift -= layer.mean / layer.std
            elif isinstance(layer, ReLU) and behind:
                stages.rows[-1]["relu"] = 1
            elif (
                isinstance(layer, MaxPool2d)
                and layer.size == layer.stride == 2
                and behind
                and stages.rows[-1]["pool"] == 1
            ):
                stages.pool()
            else:
                stages = None
                self.parts.append(_Dense(layer, shape, network.dtype))
            shape = layer.output_shape(shape)
        for part in self.parts:
            if isinstance(part, _Stages):
                part.finish()
        self.macs = sum(part.macs for part in self.parts)

    def predict(self, images: np.ndarray, workers: Workers | None = None) -> np.ndarray:
        """Return the logits of images, shape (N, classes), like `Network.predict`; by default on one thread."""
        self.network.check_images(images)
        n, threads = len(images), 1 if workers is None else workers.threads
        logits = np.empty((n, *self.network.output_shape), self.network.dtype)
        size = min(SHARD, LANES * max(1, -(-n // (LANES * threads))))
        # By the number of all images, so that the bits do not depend on that of the threads.
        lanes = LANES if n >= FEW else 1

        def run(start: int) -> None:
            x = images[start : start + size].reshape(min(size, n - start), -1)
            for part in self.parts:
                x = part.run(x, lanes)
            logits[start : start + size] = x.reshape(-1, *self.network.output_shape)

        starts = range(0, n, size)
        list(map(run, starts)) if workers is None else workers.map(run, starts)
        return logits


def _sparse(layer: Layer | None) -> SparseConv2d | SparseLinear | None:
    """Return the sparse layer to compute with, or None."""
    if not hasattr(layer, "weight"):
        return None
    sparse = sparse_layer(layer, layer.weight.value != 0, PREDICTION)
    return None if sparse is layer else sparse
