"""`python -m npl0 summary`: the layers of a model or of a stored network."""

from pathlib import Path
from typing import Any

from npl0 import runs, sparse, storage, training
from npl0.cli.guard import guard
from npl0.cli.run import resolve
from npl0.declare import ConfigError
from npl0.nn.models import model_names
from npl0.settings.flags import Parser


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 summary") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description="Show the layers of a model: shapes, weights, multiply-adds of one example.")
    what = f"{', '.join(model_names())}, a TOML file of layers, a run folder, or a model.npz"
    parser.add_argument("model", metavar="MODEL|RUN", help=what)
    parser.add_argument("--width", type=float, metavar="X", help="factor of vgg16's channels (default: 1)")
    parser.add_argument("--conv", metavar="NAME", help="convolution: auto, im2col or winograd (default: auto)")
    options = parser.parse_args(arguments)
    chosen = {name: value for name in ("width", "conv") if (value := getattr(options, name)) is not None}
    return guard(lambda: print(_summary(options.model, chosen)), prog)


def _summary(name: str, chosen: dict[str, Any]) -> str:
    path = Path(name)
    is_run = path.suffix != ".toml" and (path.exists() or path.suffix == ".npz" or len(path.parts) > 1)
    if not is_run:
        return str(runs.build_network(resolve({"model": name, **chosen})))
    if chosen:
        raise ConfigError(f"--{next(iter(chosen))} is for a model, not for a run, which has its own")
    network = storage.load_model(name)
    return f"{network}\n\nkept {training.WeightCount.of_network(network)}\n{sparse.SparseNetwork(network)}"
