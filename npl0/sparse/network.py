"""Prediction by the kept weights alone."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.nn.base import Context, Layer, Shape
from npl0.nn.layers import Dropout, Flatten, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.runtime.kernels import inlined, kernel
from npl0.runtime.threads import Workers
from npl0.sparse.compact import compact
from npl0.sparse.convolution import COLS, ROWS, TILE, aligned, convolve, convolve_one
from npl0.sparse.layers import PREDICTION, SparseConv2d, SparseLinear, sparse_layer
from npl0.sparse.vector import LANES, larger, load, splat, store

# Fewer images than this are faster one by one than side by side.
FEW = 4
# Up to this many numbers, the images of a block stay in a second-level cache, and windows of them need not be copied.
DIRECT = 4096
# The most images that a thread takes at a time.
SHARD = 64
# A sparse layer with the ReLU and the pooling behind it: the shapes of x and y; of a convolution, k and padding (of a
# linear layer, k is 0); and where its parts of the arrays of all stages begin.
STAGE = np.dtype([(name, np.int64) for name in (
    *("channels", "height", "width", "filters", "out_h", "out_w", "size", "padding", "pool", "relu", "direct"),
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
        part = images[i * lanes : (i + 1) * lanes]
        for c in range(len(scale)):
            a, b = scale[c], shift[c]
            for f in range(c * area, (c + 1) * area):
                # With a constant number of turns, the loop becomes a few instructions.
                if len(part) == LANES:
                    for e in range(LANES):
                        blocks[i, f, e] = part[e, f] * a + b
                else:
                    for e in range(len(part)):
                        blocks[i, f, e] = part[e, f] * a + b


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
            shape, out_shape = (p.channels, p.height, p.width), (p.filters, p.out_h, p.out_w)
            taps = (weights, read, groups, places, biases, p.size, p.padding, floor, p.pool)
            if p.size == 0:
                _connect(x, lanes, weights, starts, places, biases, floor, y)
            elif lanes == 1:
                convolve_one(inputs.reshape(shape), *taps, window, sums, outputs.reshape(out_shape))
            else:
                block, maps = inputs.reshape((*shape, lanes)), outputs.reshape((*out_shape, lanes))
                convolve(block, *taps, p.direct, window, sums, maps)
            x, y, z = y, z, y
        for e in range(min(lanes, len(out) - i * lanes)):
            for f in range(out.shape[1]):
                out[i * lanes + e, f] = x[f * lanes + e]


class _Dense:
    """A layer that computes as it is."""

    def __init__(self, layer: Layer, shape: Shape, dtype: np.dtype) -> None:
        self.layer, self.shape, self.dtype, self.prepared = layer, shape, dtype, layer.prepare()
        self.macs, self.nbytes = layer.macs(shape), sum(parameter.value.nbytes for parameter in layer.parameters)

    def run(self, x: np.ndarray, lanes: int) -> np.ndarray:
        """Return what x (n, features) becomes, (n, outputs)."""
        x = np.array(np.moveaxis(x.reshape(-1, *self.shape), 0, -1), self.dtype, order="C")
        y, _ = self.layer.forward(x, Context(prepared=self.prepared))
        return y.reshape(-1, y.shape[-1]).T


@dataclass
class _Stage:
    """A sparse layer, the shape that it reads, and the ReLU and the pooling, over cells of pool x pool, behind it."""

    layer: SparseConv2d | SparseLinear
    shape: Shape
    relu: bool = False
    pool: int = 1


class _Stages:
    """Sparse layers in a row, as arrays for the kernels; images are standardised first, where `first` does that."""

    def __init__(self, dtype: np.dtype, shape: Shape, first: Standardise | None, stages: list[_Stage]) -> None:
        self.scale = np.full(shape[0], 1 / (255 * first.std) if first else 1, dtype)
        self.shift = np.full(shape[0], -first.mean / first.std if first else 0, dtype)
        rows, parts, scratch, self.macs = [], [], [(1, 1)], 0
        for stage in stages:
            layer, weight = stage.layer, stage.layer.weight.value
            filters, *sides = layer.output_shape(stage.shape)
            bias = np.zeros(filters, dtype) if layer.bias is None else layer.bias.value
            if isinstance(layer, SparseConv2d):
                taps, size, padding = layer.taps, layer.kernel_size, layer.padding
                height, width = (side + 2 * padding for side in stage.shape[1:])
                _, c, i, j = np.unravel_index(taps.index, weight.shape)
                in_map = (np.searchsorted(taps.used, c) * height + i) * width + j
                direct = math.prod(stage.shape) <= DIRECT and not (padding or sides[0] % ROWS or sides[1] % COLS)
                in_block = ((c * height + i) * width + j) * LANES if direct else taps.offset
                parts.append((taps.used, taps.first.reshape(-1), weight.take(taps.index), bias, in_block, in_map))
                one = len(taps.used) * height * width + 2 * TILE, filters * (sides[0] * width + 2 * TILE)
                scratch += [taps.scratch, one]
            else:
                size, padding, direct = 0, 0, False
                first_of = np.searchsorted(layer.rows, np.arange(filters + 1))
                parts.append((layer.rows[:0], first_of, weight.take(layer.index), bias, layer.columns, layer.columns))
            self.macs += len(layer.index) * math.prod(sides)
            out_shape = filters, *(side // stage.pool for side in sides)
            rows.append(
                (*(*stage.shape, 1, 1)[:3], *(*out_shape, 1, 1)[:3], size, padding, stage.pool, stage.relu, direct)
            )
        starts = np.cumsum([(0,) * 4, *([len(array) for array in part[:4]] for part in parts)], axis=0)
        self.stages = np.array([(*row, *start) for row, start in zip([*rows, (0,) * 11], starts, strict=True)], STAGE)
        *self.arrays, in_block, in_map = map(np.concatenate, zip(*parts, strict=True))
        self.offsets = {LANES: in_block.astype(np.int32), 1: in_map.astype(np.int32)}
        self.nbytes = sum(array.nbytes for array in (self.stages, *self.arrays, *self.offsets.values()))
        outputs = [math.prod(row[3:6]) for row in rows]
        self.outputs, self.features = outputs[-1], math.prod(shape)
        # The arrays to work in: the images, what stages read and write, and those of convolutions; kept for reuse.
        self.sizes = SHARD * self.features, *[max(outputs) * LANES] * 2, *map(max, zip(*scratch, strict=True))
        self.scratch: list[tuple[np.ndarray, ...]] = []

    def run(self, x: np.ndarray, lanes: int) -> np.ndarray:
        """Return what x (n, features) becomes, (n, outputs)."""
        # Each set serves one thread at a time.
        scratch = self.scratch.pop() if self.scratch else tuple(aligned(size, self.scale.dtype) for size in self.sizes)
        number = -(-len(x) // lanes)
        blocks = scratch[0][: number * self.features * lanes].reshape(number, self.features, lanes)
        load_kernel(x, self.scale, self.shift, blocks)
        out = np.empty((len(x), self.outputs), self.scale.dtype)
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
    sparse_layers : the names of the layers that compute sparsely.
    macs : the multiply-adds of one image: with kept weights in the sparse layers, all of them in the others.
    nbytes : the bytes of the weights, and of where the kept ones are.
    """

    def __init__(self, network: Network) -> None:
        self.network = network = compact(network)
        shape, parts, stages = network.input_shape, [], None
        self.sparse_layers: list[str] = []
        for i, layer in enumerate(network.layers):
            sparse, last = _sparse(layer), stages[-1] if stages else None
            following = next((other for other in network.layers[i + 1 :] if not isinstance(other, Flatten)), None)
            standardises = isinstance(layer, Standardise) and _sparse(following) is not None
            if standardises or (sparse and stages is None):
                stages = []
                parts.append((shape, layer if standardises else None, stages))
            if sparse:
                stages.append(_Stage(sparse, shape))
                self.sparse_layers.append(layer.name)
            elif isinstance(layer, ReLU) and last:
                last.relu = True
            elif isinstance(layer, MaxPool2d) and layer.size == layer.stride == 2 and last and last.pool == 1:
                last.pool = 2
            elif not (
                standardises or isinstance(layer, Dropout) or (isinstance(layer, Flatten) and stages is not None)
            ):
                stages = None
                parts.append(_Dense(layer, shape, network.dtype))
            shape = layer.output_shape(shape)
        self.parts = [part if isinstance(part, _Dense) else _Stages(network.dtype, *part) for part in parts]
        self.macs, self.nbytes = (sum(getattr(part, name) for part in self.parts) for name in ("macs", "nbytes"))

    def __repr__(self) -> str:
        layers = f"sparse in {', '.join(self.sparse_layers) or 'no layer'}"
        return f"SparseNetwork({self.network.name!r}, {layers}, {self.macs:,} multiply-adds)"

    def predict(self, images: np.ndarray, workers: Workers | None = None) -> np.ndarray:
        """Return the logits of images, shape (N, classes), like `Network.predict`; by default on one thread."""
        self.network.check_images(images)
        n, threads = len(images), 1 if workers is None else workers.threads
        logits = np.empty((n, *self.network.output_shape), self.network.dtype)
        # To start a thread takes as long as two blocks.
        size = min(SHARD, LANES * max(2, -(-n // (LANES * threads))))
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
