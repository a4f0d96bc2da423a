"""`python -m npl0 import`: a network that another program trained, as a model.npz."""

from typing import Any

from npl0 import data, nn, sparse, storage
from npl0.cli.guard import guard, note
from npl0.cli.run import resolve
from npl0.declare import ConfigError
from npl0.nn.models import model_names
from npl0.settings.flags import Parser
from npl0.storage.files import reported

DESCRIPTION = """\
Bring in a network that another program trained. An ONNX file holds all of it. A safetensors file, such as that of a
state_dict of PyTorch, holds weights alone: name the network that takes them, in the order of their names."""


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 import") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("file", metavar="FILE", help="an ONNX file or, with --model, a safetensors file")
    parser.add_argument("--model", metavar="NAME", help=f"{', '.join(model_names())}, or a TOML file of layers")
    for name in ("mean", "std"):
        parser.add_argument(f"--{name}", type=float, nargs="+", metavar="X", help=f"{name} of each channel / 255")
    parser.add_argument("--out", metavar="FILE", default="model.npz", help="where to write (default: model.npz)")
    options = parser.parse_args(arguments)
    if options.file.endswith(".safetensors") and not options.model:
        parser.error(f"name the network that takes the weights in {options.file}: --model NAME")
    return guard(lambda: _import(options), prog)


def _import(options: Any) -> None:
    from npl0.storage.description import build_described

    statistics = {name: value for name in ("mean", "std") if (value := getattr(options, name)) is not None}
    if options.model:
        config = resolve({"model": options.model})
        with reported(ConfigError, f"--model {options.model} cannot be built", "change it"):
            if config.network is None:
                network = nn.build_model(config.model, **statistics)
            else:
                facts = {"name": config.model, "input_shape": data.DATASETS[config.data].image_shape}
                network = build_described({**facts, **config.network}, **statistics)
        storage.import_weights(network, options.file)
    else:
        network = sparse.import_onnx(options.file, **statistics)
        if not isinstance(network.layers[0], nn.Standardise):
            note("the network takes pixels of 0..255 as they are: if it was trained on others, give --mean and --std")
    storage.save_model(options.out, network, **network.header)
    print(f"{options.out}: {network!r}")
