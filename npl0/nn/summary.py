"""The sizes of a network's layers, and the table of them that `print(network)` shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from npl0.nn.base import Shape

if TYPE_CHECKING:
    from npl0.nn.network import Network


@dataclass(frozen=True)
class LayerSummary:
    """The size of a layer and its work on one example; `kept` counts the weights that are not 0."""

    name: str
    kind: str
    output_shape: Shape
    weights: int
    biases: int
    macs: int
    kept: int


def summarise(network: "Network") -> Iterator[LayerSummary]:
    """Yield one row per layer."""
    shape = network.input_shape
    for layer in network.layers:
        macs, shape = layer.macs(shape), layer.output_shape(shape)
        weights = [parameter for parameter in layer.parameters if parameter.kind == "weight"]
        size, kept = sum(w.size for w in weights), sum(int(np.count_nonzero(w.value)) for w in weights)
        others = sum(parameter.size for parameter in layer.parameters) - size
        yield LayerSummary(layer.name, layer.kind, shape, size, others, macs, kept)


def table(network: "Network") -> str:
    """Return the network's `repr` and a table of its layers; weights that are kept have a column if some are 0."""
    summaries = list(summarise(network))
    weights, kept = sum(row.weights for row in summaries), sum(row.kept for row in summaries)
    rows = [("layer", "", "output shape", "weights", "kept")]
    for row, layer in zip(summaries, network.layers, strict=True):
        counts = [f"{row.weights:,}", f"{row.kept:,}"] if row.weights else ["", ""]
        rows.append((row.name, repr(layer), str(row.output_shape), *counts))
    rows.append(("total", "", "", f"{weights:,}", f"{kept:,}"))
    rows = [row[: 4 if kept == weights else 5] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{c:{'<>'[i > 2]}{widths[i]}}" for i, c in enumerate(row)).rstrip() for row in rows]
    return "\n".join([repr(network), *lines])
