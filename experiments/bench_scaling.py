"""Time the step of VGG-16 against batch size and width: `python experiments/bench_scaling.py --out DIR [--gated]`.

The multiply-adds of a step grow in proportion to the batch, and nearly with the square of the width. The time should
grow no faster. In each curve the column `cost/MACs` is the time relative to the smallest point, divided by the
multiply-adds relative to it; it is at most 1 where time grows no faster than work.

One thread is the default. With two, a batch of 64 or less would keep only one busy, because it is a single shard; twice
that batch would cost hardly more, and the curve would look better than it is.

Every point is measured in its own processes (`bench_training.py`), and the points take turns. The table goes to stdout;
DIR receives the same figures as JSON, and a plot: `scaling-plain.json` and `scaling-plain.png` (or `-gated`).
"""

import argparse
import importlib.util
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from bench_training import measure
from npl0.nn.summary import table
from npl0.settings.flags import Parser, at_least_one

BATCHES, WIDTHS, BATCH = (32, 64, 128, 256), (0.25, 0.5, 0.75, 1.0), 128

Point = tuple[int, float]
Row = dict[str, Any]


def measure_points(points: list[Point], variant: str, arguments: argparse.Namespace) -> dict[Point, Row]:
    """Measure every point (batch, width) once per round, the points in turn."""
    found: dict[Point, list[Row]] = {point: [] for point in points}
    numbers = [f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in ("threads", "steps", "warm-up")]
    for _ in range(arguments.rounds):
        for (batch, width), results in found.items():
            flags = ["--model=vgg16", f"--batch={batch}", f"--width={width}", *numbers]
            results.append(measure(f"npl0:{variant}", flags))
    return {point: summarise(*point, results) for point, results in found.items()}


def summarise(batch: int, width: float, results: list[Row]) -> Row:
    """Return one row from all rounds of a point."""
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
    """Return the rows of a curve with `cost_over_macs`: time by multiply-adds, relative to the smallest point."""
    first = min(rows, key=lambda row: row["macs"])
    return [
        {**row, "cost_over_macs": row["median_ms"] / first["median_ms"] / (row["macs"] / first["macs"])} for row in rows
    ]


def label(name: str, rows: list[Row]) -> str:
    """Return the name of a curve, with the quantity that is constant along it."""
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
    """Plot every curve, and from its smallest point the line along which time is proportional to work."""
    # Imported after the measurements: on Linux the peak memory of a child is at least the size of its parent.
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
    """Read the command line, measure, and write the table, the JSON file and the plot."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for JSON and plot")
    parser.add_argument("--gated", action="store_true", help="put a gate on every weight")
    texts = {"nargs": "+", "type": at_least_one, "metavar": "N"}
    parser.add_argument(
        "--batches",
        default=BATCHES,
        help=f"of the first curve (default {BATCHES})",
        **texts,
    )
    texts |= {"type": float, "metavar": "X"}
    parser.add_argument("--widths", default=WIDTHS, help=f"of the second curve (default {WIDTHS})", **texts)
    numbers = {"--batch": (BATCH, "batch size of the second curve"), "--threads": (1, "threads")}
    numbers |= {"--rounds": (3, "processes per point"), "--steps": (5, "timed steps per process")}
    numbers["--warm-up"] = (2, "untimed steps before them")
    for flag, (default, text) in numbers.items():
        parser.add_argument(flag, type=at_least_one, default=default, metavar="N", help=f"{text} (default {default})")
    arguments = parser.parse_args()
    if not importlib.util.find_spec("matplotlib"):
        parser.error("the plot needs matplotlib: pip install -e '.[plot]'")
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
