"""`python -m npl0 summary`: the layers of a model or of a stored network."""

from pathlib import Path
from typing import Any

from npl0 import cli, runs, storage, training
from npl0.cli.guard import guard
from npl0.cli.run import resolve
from npl0.nn.models import model_names
from npl0.runtime.settings import ConfigError
from npl0.settings.flags import Parser


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 summary") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description="Show the layers of a model: shapes, weights, multiply-adds of one example.")
    parser.add_argument(
        "model",
        metavar="MODEL|RUN",
        help=f"{', '.join(model_names())}, a TOML file of layers, a run folder, or a model.npz",
    )
    parser.add_argument(
        "--width", type=float, metavar="X", help="factor of the channels of vgg16's layers (default: 1)"
    )
    parser.add_argument(
        "--conv", metavar="NAME", help="convolution algorithm: auto, im2col or winograd (default: auto)"
    )
    options = parser.parse_args(arguments)
    chosen = {name: value for name in ("width", "conv") if (value := getattr(options, name)) is not None}
    return guard(lambda: print(_summary(options.model, chosen)), prog)


def _summary(name: str, chosen: dict[str, Any]) -> str:
    stored = Path(name).exists() and not name.endswith(".toml")
    if stored and chosen:
        raise ConfigError(f"--{next(iter(chosen))} is for a model, not for a run, which has its own")
    network = storage.load_model(name)[0] if stored else runs.build_network(resolve({"model": name, **chosen}))
    nnz = {row.name: row.nnz for row in training.measure_layers(network)}
    rows = list(network.summary())
    lines = [
        [
            row.name,
            row.kind,
            " x ".join(str(side) for side in row.output_shape),
            f"{row.weights:,}",
            *([f"{nnz.get(row.name, 0):,}"] if stored else []),
            f"{row.biases:,}",
            f"{row.macs:,}",
            layer.algorithm_text,
        ]
        for row, layer in zip(rows, network.layers, strict=True)
    ]
    weights = training.WeightCount.of_network(network)
    biases, macs = sum(row.biases for row in rows), sum(row.macs for row in rows)
    kept = [f"{weights.kept:,}"] if stored else []
    lines.append(["all", "", "", f"{weights.size:,}", *kept, f"{biases:,}", f"{macs:,}", ""])
    header = ["layer", "kind", "output", "weights", *(["kept"] if stored else []), "biases", "MACs", "convolution"]
    title = f"{network.name}: {' x '.join(str(side) for side in network.input_shape)} in"
    return f"{title}{f', compression {weights.ratio_text}' if stored else ''}\n\n{cli.table(header, lines)}"
