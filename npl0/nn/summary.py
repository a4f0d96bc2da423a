"""The sizes of a network's layers, and the table of them that `print(network)` shows."""

from collections.abc import Iterator, Sequence
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
    output_shape: Shape
    weights: int
    kept: int
    biases: int
    macs: int


def summarise(network: "Network") -> Iterator[LayerSummary]:
    """Yield one row per layer."""
    shape = network.input_shape
    for layer in network.layers:
        macs, shape = layer.macs(shape), layer.output_shape(shape)
        weights = [parameter for parameter in layer.parameters if parameter.kind == "weight"]
        size, kept = sum(w.size for w in weights), sum(int(np.count_nonzero(w.value)) for w in weights)
        biases = sum(parameter.size for parameter in layer.parameters) - size
        yield LayerSummary(layer.name, shape, size, kept, biases, macs)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Lay out text in columns, the first `left` of them aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(f"{cell:{'<' if i < left else '>'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
        for line in lines
    )


def show(network: "Network") -> str:
    """Return the `repr` of a network and a table of its layers; kept weights have a column if some weights are 0."""
    summaries = list(summarise(network))
    kept, weights = (sum(getattr(row, name) for row in summaries) for name in ("kept", "weights"))
    names = ["weights", "kept", "biases", "macs"] if 0 < kept < weights else ["weights", "biases", "macs"]
    total = {name: sum(getattr(row, name) for row in summaries) for name in names}

    def counts(values: dict[str, int]) -> list[str]:
        return [f"{values[name]:,}" if values["weights"] or values[name] else "" for name in names]

    rows = [
        (row.name, repr(layer), " x ".join(map(str, row.output_shape)), *counts(vars(row)), layer.algorithm_used)
        for row, layer in zip(summaries, network.layers, strict=True)
    ]
    header = ("layer", "", "output", *names[:-1], "MACs", "convolution")
    return f"{network!r}\n\n{table(header, [*rows, ('all', '', '', *counts(total), '')], left=3)}"
