"""Snapshots: what a run looked like epoch by epoch, small enough to keep; the report of a run shows them.

A moment is the start, the end of an epoch, or the pruning. Of each stage at most `MOST_EPOCHS` epochs are recorded,
evenly spread and with the last. A moment takes at most 160 KB, a run at most some 50 moments; much of that compresses.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import check_arrays
from npl0.pruning.base import Pruner
from npl0.pruning.masks import Masks, masks_of
from npl0.storage.archive import save_arrays

MOST_EPOCHS = 24
# A cell of a map is the fraction of kept weights in a rectangle of a layer's weights, in steps of 1 / LEVELS.
MOST_CELLS, LEVELS = 1 << 17, 7
BINS = 64
# The ranges of the histograms: log_alpha within the clamp of the gates, and log10 |w| of the kept weights.
RANGES = {"log_alpha": (-10.0, 10.0), "log10 |w|": (-6.0, 2.0)}
MOMENTS = ("start", "train", "pruned", "retrain")
POINTS = ("initial", "trained", "pruned", "retrained")
MOST_FILTERS, MOST_VALUES = 64, 8192
# Of each kind of images whose class changed, as many are kept as fit into these bounds.
MOST_IMAGES, MOST_IMAGE_BYTES = 12, 1 << 16


class Snapshots:
    """The snapshots of the training of a network, in `arrays`: by name, one entry per moment along the first axis.

    - moments : (n, 3) the index in MOMENTS, the epoch in its stage, and the index in RANGES of the histograms;
    - kept : (n, layers) kept weights;
    - histogram : (n, layers, BINS) counts of gates by log_alpha, or of kept weights by log10 |w|;
    - cells : (n, all cells) the maps of all layers one after another, in 0..LEVELS;
    - first : (n, k, c, h, w) filters of a first convolution, or (n, 1, *input_shape) the fraction of weights kept
      from each input of a first linear layer;
    - predicted.POINT : (test images,) the class each image was given, for some of POINTS.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        weights = network.weights
        self.grids = grids([(len(w.value), w.size // len(w.value)) for w in weights], MOST_CELLS)
        counts = {"moments": (3,), "kept": (len(weights),), "histogram": (len(weights), BINS)}
        self.arrays = {name: np.zeros((0, *shape), np.int64) for name, shape in counts.items()}
        self.arrays["cells"] = np.zeros((0, sum(rows * columns for rows, columns in self.grids)), np.uint8)
        self.arrays["first"] = self._first(masks_of(network))[None][:0]

    def record(self, moment: str, epoch: int, last: int, pruner: Pruner, masks: Masks) -> None:
        """Record a moment of a stage of `last` epochs, unless its epoch is to be left out."""
        if epoch % max(1, math.ceil(last / MOST_EPOCHS)) and epoch != last:
            return
        weights, gates = self.network.weights, getattr(pruner, "log_alphas", [])
        kept = [masks[weight.name] for weight in weights]
        values = [gate.value for gate in gates] or [
            np.log10(np.abs(weight.value[mask & (weight.value != 0)]))
            for weight, mask in zip(weights, kept, strict=True)
        ]
        quantity = "log_alpha" if gates else "log10 |w|"
        limits = RANGES[quantity]
        new = {
            "moments": (MOMENTS.index(moment), epoch, list(RANGES).index(quantity)),
            "kept": [mask.sum() for mask in kept],
            "histogram": [np.histogram(np.clip(value, *limits), BINS, limits)[0] for value in values],
            "cells": np.concatenate([cells(mask, *grid) for mask, grid in zip(kept, self.grids, strict=True)]),
            "first": self._first(masks),
        }
        for name, value in new.items():
            array = self.arrays[name]
            self.arrays[name] = np.concatenate([array, np.asarray(value, array.dtype)[None]])

    def _first(self, masks: Masks) -> np.ndarray:
        shape, values = self.network.input_shape, np.zeros((0, 1, 1, 1))
        first = self.network.weights[0]
        if first.value.ndim == 4:
            values = first.value if first.value.shape[1] in (1, 3) else first.value.mean(axis=1, keepdims=True)
            values = values[: min(MOST_FILTERS, MOST_VALUES // values[0].size)]
        elif len(shape) == 3 and first.value[0].size == math.prod(shape) <= MOST_VALUES:
            values = masks[first.name].mean(axis=0).reshape(1, *shape)
        return values.astype(np.float16)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that a resumed run needs."""
        return self.arrays

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load what `state` returned; ValueError if it belongs to another network. No arrays: nothing was recorded."""
        if arrays:
            blank = {name: np.zeros((len(arrays["moments"]), *a.shape[1:]), a.dtype) for name, a in self.arrays.items()}
            # Classes may have been predicted at some points.
            check_arrays("this run", {**arrays, **blank}, arrays)
            self.arrays = dict(arrays)

    def write(self, path: Path, classes: Sequence[str], held_out: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Write the file; with the test images and labels, also the labels and some images whose class changed."""
        header = {
            "kind": "set of snapshots",
            "layers": [[weight.name, list(weight.value.shape)] for weight in self.network.weights],
            "grids": self.grids,
            "classes": list(classes),
        }
        extra = {}
        if held_out is not None:
            images, labels = held_out
            points = [f"predicted.{point}" for point in POINTS[1:]]
            right = [self.arrays[point] == labels for point in points if point in self.arrays]
            # The first images that each stage after training lost and won.
            most, picked = min(MOST_IMAGES, MOST_IMAGE_BYTES // images[0].nbytes), []
            for before, after in combinations(right, 2):
                picked += [np.flatnonzero(some)[:most] for some in (before & ~after, ~before & after)]
            chosen = np.unique(np.concatenate([np.zeros(0, np.int64), *picked]))
            extra = {"labels": labels.astype(np.uint16), "picked": chosen, "images": images[chosen]}
        save_arrays(path, header, {**self.arrays, **extra}, compress=True)


def grids(shapes: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return the rows and columns of a map for each layer, about `most` cells in all; small layers get one per weight.

    A larger layer is cut into equal rectangles, so that its map is about as high as wide.
    """
    found, room = [(0, 0)] * len(shapes), most
    for done, i in enumerate(sorted(range(len(shapes)), key=lambda i: math.prod(shapes[i]))):
        (rows, columns), share = shapes[i], max(1, room // (len(shapes) - done))
        if rows * columns > share:
            rows = math.ceil(rows / math.ceil(rows / max(1, math.isqrt(share))))
            columns = math.ceil(columns / math.ceil(columns / max(1, share // rows)))
        found[i], room = (rows, columns), room - rows * columns
    return found


def cells(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the fraction of kept weights in each of rows x columns rectangles, rounded up to steps of 1 / LEVELS."""
    matrix = mask.reshape(len(mask), -1)
    steps = [math.ceil(size / count) for size, count in zip(matrix.shape, (rows, columns), strict=True)]
    starts = [np.arange(0, size, step) for size, step in zip(matrix.shape, steps, strict=True)]
    counts = np.add.reduceat(np.add.reduceat(matrix, starts[1], axis=1, dtype=np.int32), starts[0], axis=0)
    sizes = [np.diff([*start, size]) for start, size in zip(starts, matrix.shape, strict=True)]
    return np.ceil(counts * LEVELS / np.outer(*sizes)).astype(np.uint8).reshape(-1)
