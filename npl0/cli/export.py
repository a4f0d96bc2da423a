"""`python -m npl0 export`: the pruned network of a run as a file for use without npl0."""

from pathlib import Path
from typing import Any

from npl0 import sparse, storage
from npl0.cli.guard import guard
from npl0.settings.flags import Parser
from npl0.storage.files import replacing, write_text

DESCRIPTION = """\
Write a run's pruned network as a file for use without npl0. Dead units are removed and batch norms folded. The file
npl0/sparse/reader.py, which needs NumPy alone, reads model.npl0. For c, it is one C99 file and its header, without
allocation; code and time of an image are measured with gcc, if it is installed. For html, it is one page, of at most
100 KB, on which one draws an image of one channel with mouse or finger, and the network answers. For onnx, it is a
model of ONNX, from pixels to logits. For safetensors, nothing is removed or folded: it is another form of the
model.npz, and npl0 takes it in its place."""
# The precisions of each format, the default first.
FORMATS = {"npl0": ("float16", "float32", "int8", "codebook"), "c": ("int8", "float32"), "html": ("float16", "float32")}
FORMATS |= {"onnx": ("float32",), "safetensors": ("float32",)}


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
    network = storage.load_model(options.run)
    out = Path(options.out) if options.out else storage.find_model(options.run).with_name(f"model.{options.format}")
    if options.format == "c":
        _export_c(network, precision, out)
        return
    if options.format == "safetensors":
        beside = {key: network.header[key] for key in ("classes", "settings", "data") if key in network.header}
        storage.save_model(out := out.with_suffix(".safetensors"), network, **beside)
        print(f"{out}: {out.stat().st_size:,} bytes")
        return
    write = sparse.to_html if options.format == "html" else sparse.to_npl0
    given = () if options.format == "onnx" else (precision, network.header.get("classes", ()))
    content = (sparse.to_onnx if options.format == "onnx" else write)(network, *given)
    with replacing(out) as temporary:
        temporary.write_bytes(content)
    print(f"{out}: {len(content):,} bytes, {precision}")


def _export_c(network: Any, precision: str, out: Path) -> None:
    c = sparse.to_c(network, precision, out.stem)
    write_text(out.with_suffix(".h"), c.header)
    write_text(out, c.source)
    print(f"{out} and {out.with_suffix('.h').name}: {precision}")
    print(f"constants  {c.constants:,} bytes\nmemory     {c.memory:,} bytes, besides the image and the stack")
    if found := sparse.measure(c, out.stem):
        print(f"code       {found[0]:,} bytes, by gcc -O2 for this machine\nan image   {found[1]:.3f} ms")
    else:
        print("code and time were not measured, because gcc is not installed")
