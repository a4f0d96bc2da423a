"""`python -m npl0 export`: the pruned network of a run as a file for use without npl0."""

from pathlib import Path
from typing import Any

from npl0 import sparse
from npl0.cli.guard import guard
from npl0.settings.flags import Parser
from npl0.storage.files import replacing
from npl0.storage.model_file import find_model, load_model

DESCRIPTION = """\
Write a run's pruned network as a file for use without npl0. Dead units are removed and batch norms folded. The file
npl0/sparse/reader.py, which needs NumPy alone, reads model.npl0."""
# The precisions of each format, the default first.
FORMATS = {"npl0": ("float16", "float32", "int8", "codebook")}


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 export") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="a run folder, or a model.npz")
    parser.add_argument("--format", choices=FORMATS, default="npl0", help="kind of file (default: npl0)")
    shown = "; ".join(f"{name}: {', '.join(precisions)}" for name, precisions in FORMATS.items())
    parser.add_argument("--precision", metavar="NAME", help=f"of the weights ({shown}; default: the first)")
    parser.add_argument("--out", metavar="FILE", help="where to write (default: model.FORMAT beside the model.npz)")
    options = parser.parse_args(arguments)
    precisions = FORMATS[options.format]
    if options.precision not in (None, *precisions):
        parser.error(f"--precision {options.precision}: {options.format} takes {', '.join(precisions)}")
    return guard(lambda: _export(options, options.precision or precisions[0]), prog)


def _export(options: Any, precision: str) -> None:
    network = load_model(options.run)
    out = Path(options.out) if options.out else find_model(options.run).with_name(f"model.{options.format}")
    content = sparse.to_npl0(network, precision, network.header.get("classes", ()))
    with replacing(out) as temporary:
        temporary.write_bytes(content)
    print(f"{out}: {len(content):,} bytes, {precision}")
