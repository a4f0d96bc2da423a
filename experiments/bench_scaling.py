"""Time the step of VGG-16 against batch and width: `python experiments/bench_scaling.py --out DIR [--gated]`.

Both grow the multiply-adds of a step: in proportion to the batch, and nearly to the square of the width. A step should
grow no faster. Along each curve the column `cost/MACs` is the time relative to the curve's smallest point, divided by
the multiply-adds relative to it: at most 1 where the time grows no faster than the work.

By default one thread does all of it. Of two, a batch of 64 or less, being a single shard, keeps only one busy; its
double would cost next to nothing more, and the curve would flatter.

Every point has a process of its own (`bench_training.py`), and the points take turns. A table goes to stdout; the same
as JSON, and a figure, to DIR as `scaling-plain.json` and `scaling-plain.png` (or `-gated`).
"""

import argparse
import importlib.util
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from bench_training import measure
from measuring import positive
from npl0.cli.tables import table
from npl0.settings.flags import Parser

BATCHES, WIDTHS, BATCH = (32, 64, 128, 256), (0.25, 0.5, 0.75, 1.0), 128

Point = tuple[int, float]
Row = dict[str, Any]


def measure_points(points: list[Point], variant: str, arguments: argparse.Namespace) -> dict[Point, Row]:
    """Measure every point (batch, width), in turn and as often as there are rounds."""
    found: dict[Point, list[Row]] = {point: [] for point in points}
    numbers = [f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in ("threads", "steps", "warm-up")]
    for _ in range(arguments.rounds):
        for (batch, width), results in found.items():
            flags = ["--model=vgg16", f"--batch={batch}", f"--width={width}", *numbers]
            results.append(measure(f"npl0:{variant}", flags))
    return {point: summarise(*point, results) for point, results in found.items()}


def summarise(batch: int, width: float, results: list[Row]) -> Row:
    """Return one row from the rounds of a point."""
    macs, median = results[0]["macs"], statistics.median(result["median"] for result in results)
    peaks = [result["peak_mb"] for result in results if result["peak_mb"]]
    return {
        "batch": batch,
        "width": width,
        "macs": macs,
        "min_ms": min(result["min"] for result in results),
        "median_ms": median,
        "gflops": 2 * macs / median / 1e6,
        "peak_mb": statistics.median(peaks) if peaks else None,
    }


def with_relative_cost(rows: list[Row]) -> list[Row]:
    """Return a curve's rows with `cost_over_macs`: time over multiply-adds, both relative to the smallest point."""
    first = min(rows, key=lambda row: row["macs"])
    return [
        {**row, "cost_over_macs": row["median_ms"] / first["median_ms"] / (row["macs"] / first["macs"])} for row in rows
    ]


def label(name: str, rows: list[Row]) -> str:
    """Return the name of a curve with what stays the same along it."""
    fixed = "width" if name == "batch" else "batch"
    return f"{name}, at {fixed} {rows[0][fixed]:g}"


def show(rows: list[Row]) -> str:
    """Lay out a curve as a table."""
    header = ["batch", "width", "million MACs", "min ms", "median ms", "GFLOP/s", "cost/MACs", "peak MB"]
    lines = [
        [
            str(row["batch"]),
            f"{row['width']:g}",
            f"{row['macs'] / 1e6:,.0f}",
            f"{row['min_ms']:.1f}",
            f"{row['median_ms']:.1f}",
            f"{row['gflops']:.0f}",
            f"{row['cost_over_macs']:.3f}",
            f"{row['peak_mb']:.0f}" if row["peak_mb"] else "",
        ]
        for row in rows
    ]
    return table(header, lines)


def draw(curves: dict[str, list[Row]], heading: str, path: Path) -> None:
    """Draw the points of every curve, and from its smallest one the line along which time grows as the work does."""
    # Imported after all measurements, since on Linux the peak memory of a child counts from its parent's size.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4.5), layout="constrained")
    for (name, rows), marker in zip(curves.items(), "s+", strict=True):
        macs, ms = ([row[key] for row in rows] for key in ("macs", "median_ms"))
        (points,) = axes.loglog(macs, ms, marker, label=label(name, rows), fillstyle="none", markersize=9)
        low, high = min(macs), max(macs)
        start = ms[macs.index(low)]
        style = {"linestyle": "--", "linewidth": 1, "color": points.get_color()}
        axes.plot([low, high], [start, start * high / low], label="slope 1: in proportion", **style)
    axes.set(xlabel="multiply-adds of a step", ylabel="median time of a step, ms", title=heading)
    axes.grid(which="both", linewidth=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Read the command line, measure, and write table, JSON and figure."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where JSON and figure go")
    parser.add_argument("--gated", action="store_true", help="with a gate on every weight")
    texts = {"nargs": "+", "type": positive, "metavar": "N"}
    parser.add_argument("--batches", default=BATCHES, help=f"at the largest width (default {BATCHES})", **texts)
    texts |= {"type": float, "metavar": "X"}
    parser.add_argument("--widths", default=WIDTHS, help=f"at one batch (default {WIDTHS})", **texts)
    numbers = {"--batch": (BATCH, "the batch of all widths"), "--threads": (1, "threads")}
    numbers |= {"--rounds": (3, "processes for each point"), "--steps": (5, "timed steps of a process")}
    numbers["--warm-up"] = (2, "steps before them")
    for flag, (default, text) in numbers.items():
        parser.add_argument(flag, type=positive, default=default, metavar="N", help=f"{text} (default {default})")
    arguments = parser.parse_args()
    if not importlib.util.find_spec("matplotlib"):
        parser.error("the figure needs matplotlib: pip install -e '.[plot]'")
    arguments.out.mkdir(parents=True, exist_ok=True)
    variant, widest = "gated" if arguments.gated else "plain", max(arguments.widths)
    points = {
        "batch": [(batch, widest) for batch in sorted(arguments.batches)],
        "width": [(arguments.batch, width) for width in sorted(arguments.widths)],
    }
    # The curves share a point, which is measured once.
    found = measure_points([point for curve in points.values() for point in curve], variant, arguments)
    curves = {name: with_relative_cost([found[point] for point in curve]) for name, curve in points.items()}
    heading = f"VGG-16, {variant} step, threads: {arguments.threads}"
    print(heading)
    for name, rows in curves.items():
        print(f"\nagainst {label(name, rows)}\n{show(rows)}")
    described = {key: getattr(arguments, key) for key in ("threads", "rounds", "steps", "warm_up")}
    report = {"model": "vgg16", "variant": variant, **described, "curves": curves}
    target = arguments.out / f"scaling-{variant}.json"
    target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(curves, heading, target.with_suffix(".png"))
    print(f"written: {target} and {target.with_suffix('.png').name}", file=sys.stderr)


if __name__ == "__main__":
    main()
