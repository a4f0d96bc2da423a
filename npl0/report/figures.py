"""The figures of the report: matplotlib's SVG, in the colours and the type of the page around them."""

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from npl0.ops.schedules import SCHEDULES
from npl0.report.record import RunRecord
from npl0.training.loop import Stage

# Stand-ins for the colours of the page, so that a figure follows its light and dark theme; plot.mplstyle has them too.
INK, SOFT, LINE, SHADE, BLUE, ORANGE, PAPER = (f"#0102{i:02x}" for i in range(7))
COLOURS = {"ink": INK, "soft": SOFT, "line": LINE, "shade": SHADE, "blue": BLUE, "orange": ORANGE, "paper": PAPER}
MOST_POINTS = 500
DOTTED, DASHED = (0, (1, 1.4)), (0, (4, 2))
# The columns of the log in each figure on the course of a training.
COLUMNS = {
    "accuracy": {"train_accuracy": BLUE, "validation_accuracy": ORANGE},
    "loss": {"loss": BLUE, "penalty": ORANGE},
    "weights": {"expected_l0": ORANGE, "kept": BLUE},
    "strengths": {},
}


def draw_svg(name: str, draw: Callable[[Any], None], height: float = 2.3) -> str:
    """Return a figure as an element of the page: `draw` gets its axes, and `name` sets it apart from other figures."""
    from matplotlib import style
    from matplotlib.figure import Figure

    look = files("npl0.report") / "files" / "plot.mplstyle"
    with as_file(look) as path, style.context([path, {"svg.hashsalt": name}]):
        figure, text = Figure(figsize=(4.8, height), layout="constrained"), io.StringIO()
        draw(figure.subplots())
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    # Figures share the numbered ids, to which nothing refers.
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg[svg.index("<svg") :])
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def course(record: RunRecord) -> dict[str, str]:
    """Return the figures on the course of a training, by the name of their caption in the page."""
    return {
        name: draw_svg(f"{record.path.name} {name}", partial(_over_epochs, record, name))
        for name in COLUMNS
        if (record.steps_per_epoch if name == "strengths" else record.rows)
    }


def _over_epochs(record: RunRecord, name: str, axes: Any) -> None:
    """Draw one of the figures over the epochs, with the moments of pruning and retraining marked."""
    result, (trained, retrained) = record.result, record.epochs.values()
    axes.set(xlim=(0, max(1, trained + retrained)), xlabel="epoch", yscale="linear" if name == "accuracy" else "log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if record.config.prunes:
        axes.axvspan(trained, trained + retrained, color=SHADE, lw=0, zorder=0)
        axes.axvline(trained, color=SOFT, lw=0.9, ls=DASHED, zorder=1)
        look = {"ha": "left" if retrained > 0.3 * trained else "right", "va": "bottom", "color": SOFT, "fontsize": 8}
        axes.annotate("prune, then retrain", (trained, 1.01), xycoords=("data", "axes fraction"), **look)
    for column, colour in COLUMNS[name].items():
        rows = [row for row in record.rows if row.get(column)]
        ends = [row["epoch"] + trained * (row["stage"] == "retrain") for row in rows]
        look = {"ls": DOTTED} if column == "expected_l0" else {"marker": "o"}
        if rows:
            axes.plot(ends, [row[column] for row in rows], color=colour, **look)
    if name == "accuracy":
        axes.yaxis.set_major_formatter(lambda share, place: f"{100 * share:g} %")
        ends = {"trained": trained, "pruned": trained, "retrained": trained + retrained} if result else {}
        measured = [result["accuracy"].get(point, np.nan) for point in ends]
        axes.plot(ends.values(), measured, "D", color=INK, mec=PAPER, clip_on=False, ms=6.5, zorder=4)
    elif name == "weights" and result:
        first = record.rows[0]
        axes.plot([0, first["epoch"]], [result["size"]["weights"], first["kept"]], color=BLUE, clip_on=False)
    elif name == "strengths":
        _draw_strengths(record, axes)
    if name != "accuracy":
        _label_decades(axes.yaxis)


def _label_decades(axis: Any, form: str = "{x:,.10g}") -> None:
    """Label the decades of a logarithmic axis, and steps between them where there are few."""
    from matplotlib.ticker import LogLocator

    decades = np.ptp(np.log10(axis.get_view_interval()))
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.6 else (1,), numticks=6))
    axis.set_major_formatter(form)
    axis.set_minor_formatter("")


def strengths(record: RunRecord) -> dict[str, np.ndarray]:
    """Return the rates of weights and gates, and lambda, by the settings: (2, n) steps, in epochs, and values."""
    config, per_epoch = record.config, record.steps_per_epoch
    found: dict[str, list[tuple[float, float]]] = {"weights": [], "gates": [], "lambda": []}
    for name, epochs in record.epochs.items():
        stage, steps = Stage(name, config.recipe(name), config.seed), epochs * per_epoch
        for number in range(0, steps, max(1, steps // MOST_POINTS)):
            step, x = stage.step(number, per_epoch), number / per_epoch + record.epochs["train"] * (name == "retrain")
            found["weights"].append((x, step.learning_rate))
            if name == "train" and config.method == "l0":
                gates, ramp = config.options, max(1, round(config.options.ramp_epochs * per_epoch))
                own = SCHEDULES[gates.gate_schedule](step.fraction) if gates.gate_schedule else step.rate_factor
                found["gates"].append((x, gates.gate_learning_rate * own))
                found["lambda"].append((x, gates.l0_lambda * min(1.0, (number + 1) / ramp)))
    return {name: np.array(pairs).T for name, pairs in found.items() if pairs}


def _draw_strengths(record: RunRecord, axes: Any) -> None:
    colours, lines = {"weights": BLUE, "gates": ORANGE, "lambda": INK}, strengths(record)
    for name, (x, y) in lines.items():
        axes.plot(x, y, color=colours[name], ls=DASHED if name == "lambda" else "-")
    # A cosine ends near 0, far below all that matters.
    axes.set_ylim(bottom=min((max(y.max(), 1e-9) for _, y in lines.values()), default=1) / 100)
    axes.set_xlabel(f"epoch of {record.steps_per_epoch:,} steps")


def comparison(records: Sequence[RunRecord]) -> str:
    """Return a figure of error against compression, with a numbered point for each finished run."""

    def draw(axes: Any) -> None:
        axes.set(xscale="log", yscale="log", xlabel="compression: weights / kept weights", ylabel="error")
        for number, record in enumerate(records, 1):
            result = record.result
            if result and result["nnz"]["weights"]:
                # A logarithmic axis has no 0, so half an image stands for no error.
                errors = max(result["total"] - result["correct"]["retrained"], 0.5)
                place = result["size"]["weights"] / result["nnz"]["weights"], 100 * errors / result["total"]
                colour = BLUE if record.config.method == "l0" else ORANGE
                axes.plot(*place, "o", ms=13, color=colour, mec=PAPER, clip_on=False)
                axes.annotate(str(number), place, ha="center", va="center_baseline", color=PAPER, fontsize=8)
        axes.margins(0.12, 0.15)
        _label_decades(axes.xaxis, "{x:,.10g}\N{MULTIPLICATION SIGN}")
        _label_decades(axes.yaxis, "{x:,.10g} %")

    return draw_svg("comparison", draw, 3.4)
