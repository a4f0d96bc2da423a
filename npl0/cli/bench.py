"""`python -m npl0 bench`: how long a stored network takes in each of its forms, in PyTorch, and in ONNX Runtime.

The forms take turns in one process, so that a machine that is busy for a while slows them all.
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from npl0 import report, runtime, storage
from npl0.cli.guard import guard
from npl0.declare import Npl0Error
from npl0.settings.flags import Parser, add_thread_flag, at_least_one
from npl0.storage.files import replacing

BATCHES, FIGURES = [1, 16, 128, 1000], (".svg", ".png", ".pdf")


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 bench") -> int:
    """Run the command; return its exit code."""
    what = "Time a run's network dense, compacted, sparse, in C, ONNX Runtime and PyTorch, on images of random pixels."
    parser = Parser(prog=prog, description=what)
    parser.add_argument("run", metavar="RUN", help="a run folder, or a model.npz")
    words = {"type": at_least_one, "nargs": "+", "default": BATCHES, "metavar": "N"}
    parser.add_argument("--batch", help=f"images of a call (default: {' '.join(map(str, BATCHES))})", **words)
    add_thread_flag(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    parser.add_argument("--plot", metavar="FILE", help="draw the times, as .svg, .png or .pdf (needs the extra `plot`)")
    options = parser.parse_args(arguments)
    if options.plot and Path(options.plot).suffix not in FIGURES:
        parser.error(f"--plot {options.plot}: the name of a figure ends in {', '.join(FIGURES)}")
    return guard(lambda: _bench(options), prog)


def _bench(options: Any) -> None:
    from npl0.cli.forms import measure  # needs NumPy, which `--help` does without

    with replacing(options.plot) if options.plot else nullcontext() as figure:
        if figure:
            report.check_plots("a figure")
            figure.touch()  # before the work, not after it
        # PyTorch is loaded inside: the BLAS that it brings keeps its threads.
        with runtime.Workers(options.threads or runtime.available_threads()) as workers:
            found = measure(storage.load_model(options.run), sorted({*options.batch}), workers)
        print(json.dumps(found, indent=2) if options.json else _text(found), flush=True)
        if figure:
            _draw(found["rows"], figure, Path(options.plot).suffix[1:])
    if found["disagree"]:
        raise Npl0Error("other classes than those of the dense network: " + "; ".join(found["disagree"]))


def _text(found: dict[str, Any]) -> str:
    from npl0.nn.summary import table

    head = f"{found['model']}, {found['macs_kept']:,} multiply-adds an image with the weights that are kept\n"
    head += f"{found['cpu']}, {found['threads']} threads\n"
    titles = ["form", "batch", "min ms", "median ms", "calls", "GFLOP/s", "PyTorch / this", "MACs", "bytes"]
    forms = ["", "", ",.3f", ",.3f", ",", ",.1f", ",.2f", ",", ","]
    pairs = [zip(row.values(), forms, strict=True) for row in found["rows"]]
    cells = [["" if value is None else f"{value:{form}}" for value, form in row] for row in pairs]
    missing = [f"{name}: {reason}" for name, reason in found["missing"].items()]
    return "\n".join([head, table(titles, cells), *missing])


def _draw(rows: list[dict[str, Any]], path: Path, form: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["form"] for row in rows):
        x, y = zip(*((row["batch"], row["min_ms"] / row["batch"]) for row in rows if row["form"] == name), strict=True)
        axes.loglog(x, y, "o:" if name.startswith("PyTorch") else "o-", label=name)
    axes.set(xlabel="images of a call", ylabel="ms an image, the least")
    axes.set_xticks(batches := sorted({row["batch"] for row in rows}), batches)
    axes.grid(linewidth=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, format=form, dpi=150)
