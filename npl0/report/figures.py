"""The figures of the report: matplotlib's SVG, in the colours and the type of the page around them."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from npl0.ops.schedules import SCHEDULES
from npl0.report.record import RunRecord
from npl0.training.loop import Stage

# Stand-ins that become the colours of the page, so that a figure follows its light and dark theme.
COLOURS = {name: f"#0102{i:02x}" for i, name in enumerate(("ink", "soft", "line", "shade", "blue", "orange", "paper"))}
MOST_POINTS = 500
DOTTED, DASHED = (0, (1, 1.4)), (0, (4, 2))


@contextmanager
def figure(name: str, height: float = 2.3) -> Iterator[tuple[Any, list[str]]]:
    """Yield axes, and a list to which the SVG is added at the end of the block."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {
        "text.color": "ink",
        "grid.color": "line",
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), "line"),
        **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), "soft"),
    }
    with as_file(files("npl0.report") / "files" / "plot.mplstyle") as style, pyplot.style.context(style):
        pyplot.rcParams.update({key: COLOURS[colour] for key, colour in colours.items()} | {"svg.hashsalt": name})
        drawn, axes = pyplot.subplots(figsize=(4.8, height), layout="constrained")
        axes.grid(axis="y")
        made: list[str] = []
        yield axes, made
        text = io.StringIO()
        drawn.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(drawn)
    made.append(_fit_to_page(text.getvalue()))


def _fit_to_page(svg: str) -> str:
    """Give a figure the colours and the type of the page, and drop what a page has of its own."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"font: (?:\w+ )?([\d.]+px) [^;\"]+", r"font-size: \1", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def course(record: RunRecord) -> list[tuple[str, str]]:
    """Return the figures on the course of a training, each a caption in HTML and an SVG."""
    drawn = [_accuracy(record), _losses(record), _counts(record)] if record.rows else []
    return drawn + ([_strengths(record)] if record.steps_per_epoch else [])


@contextmanager
def _course(record: RunRecord, name: str, logarithmic: bool = True) -> Iterator[tuple[Any, list[str]]]:
    """Yield axes over the epochs with the moments of pruning and retraining marked, and a list for the SVG."""
    trained, retrained = record.epochs.values()
    with figure(f"{record.path.name} {name}") as (axes, made):
        axes.set_xlim(0, max(1, trained + retrained))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if record.config.prunes:
            axes.axvspan(trained, trained + retrained, color=COLOURS["shade"], lw=0, zorder=0)
            axes.axvline(trained, color=COLOURS["soft"], lw=0.9, ls=DASHED, zorder=1)
            side = "left" if retrained > 0.3 * trained else "right"
            look = {"ha": side, "va": "bottom", "color": COLOURS["soft"], "fontsize": 8}
            axes.annotate("prune, then retrain", (trained, 1.01), xycoords=("data", "axes fraction"), **look)
        if logarithmic:
            axes.set_yscale("log")
        yield axes, made
        if logarithmic:
            _label_decades(axes.yaxis)


def _label_decades(axis: Any, form: str = "{x:,.10g}") -> None:
    """Label the decades of a logarithmic axis, and steps between them where there are few."""
    from matplotlib.ticker import LogLocator

    decades = np.ptp(np.log10(axis.get_view_interval()))
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.6 else (1,), numticks=6))
    axis.set_major_formatter(form)
    axis.set_minor_formatter("")


def _draw(axes: Any, record: RunRecord, name: str, colour: str, scale: float = 1, **look: Any) -> bool:
    """Draw a column of the log over the ends of its epochs, and return whether it has a value anywhere."""
    rows = [row for row in record.rows if row.get(name)]
    ends = [row["epoch"] + record.epochs["train"] * (row["stage"] == "retrain") for row in rows]
    axes.plot(ends, [scale * row[name] for row in rows], color=COLOURS[colour], **{"marker": "o", **look})
    return bool(rows)


def _caption(title: str, **keys: str) -> str:
    return f"<b>{title}</b> " + ", ".join(f'<span class="{colour}">{text}</span>' for colour, text in keys.items())


def _accuracy(record: RunRecord) -> tuple[str, str]:
    keys, (trained, retrained) = {"blue": "in training"}, record.epochs.values()
    with _course(record, "accuracy", False) as (axes, made):
        _draw(axes, record, "train_accuracy", "blue", 100)
        if _draw(axes, record, "validation_accuracy", "orange", 100):
            keys["orange"] = "on the validation images"
        if record.result:
            keys["ink"] = f"◆ on the {record.result['measured_on']} images"
            places = {"trained": trained, "pruned": trained, "retrained": trained + retrained}
            points = [100 * record.result["accuracy"].get(point, np.nan) for point in places]
            look = {"color": COLOURS["ink"], "mec": COLOURS["paper"], "clip_on": False, "ms": 6.5, "zorder": 4}
            axes.plot(places.values(), points, "D", **look)
        axes.yaxis.set_major_formatter("{x:g} %")
    return _caption("Accuracy", **keys), made[0]


def _losses(record: RunRecord) -> tuple[str, str]:
    with _course(record, "loss") as (axes, made):
        _draw(axes, record, "loss", "blue")
        penalty = {"orange": "penalty on open gates"} if _draw(axes, record, "penalty", "orange") else {}
    return _caption("Loss", blue="cross-entropy", **penalty), made[0]


def _counts(record: RunRecord) -> tuple[str, str]:
    with _course(record, "counts") as (axes, made):
        gates = _draw(axes, record, "expected_l0", "orange", ls=DOTTED, marker="")
        expected = {"orange": "expected to be open, the sum of P(z > 0)"} if gates else {}
        _draw(axes, record, "kept", "blue")
        if record.result:
            start = [record.result["size"]["weights"], record.rows[0]["kept"]]
            axes.plot([0, record.rows[0]["epoch"]], start, color=COLOURS["blue"], clip_on=False)
    return _caption("Weights", blue="kept", **expected), made[0]


def strengths(record: RunRecord) -> dict[str, np.ndarray]:
    """Return the learning rates of weights and gates, and lambda, as (2, n): steps, in epochs, and values.

    They follow from the settings alone; about `MOST_POINTS` steps of each stage are returned.
    """
    config, per_epoch = record.config, record.steps_per_epoch
    found: dict[str, list[tuple[float, float]]] = {"weights": [], "gates": [], "lambda": []}
    for name, epochs in record.epochs.items():
        stage, steps = Stage(name, config.recipe(name), config.seed), epochs * per_epoch
        for number in range(0, steps, max(1, steps // MOST_POINTS)):
            step, x = stage.step(number, per_epoch), number / per_epoch
            if name == "retrain":
                x += record.epochs["train"]
            elif config.method == "l0":
                gates, ramp = config.options, round(config.options.ramp_epochs * per_epoch)
                own = SCHEDULES[gates.gate_schedule](step.fraction) if gates.gate_schedule else step.rate_factor
                found["gates"].append((x, gates.gate_learning_rate * own))
                found["lambda"].append((x, gates.l0_lambda * (min(1.0, (number + 1) / ramp) if ramp else 1.0)))
            found["weights"].append((x, step.learning_rate))
    return {name: np.array(pairs).T for name, pairs in found.items() if pairs}


def _strengths(record: RunRecord) -> tuple[str, str]:
    keys = {"weights": ("blue", "-", "rate of the weights"), "gates": ("orange", "-", "of the gates")}
    keys["lambda"] = ("ink", DASHED, "lambda")
    lines = strengths(record)
    with _course(record, "strengths") as (axes, made):
        for name, (x, y) in lines.items():
            colour, dashes, _ = keys[name]
            axes.plot(x, np.where(y > 0, y, np.nan), color=COLOURS[colour], ls=dashes)
        if lines:
            # A cosine ends near 0, far below all that matters.
            axes.set_ylim(bottom=max(min(y.max() for _, y in lines.values()), 1e-9) / 100)
        axes.set_xlabel(f"epoch of {record.steps_per_epoch:,} steps")
    return _caption("Strengths, step by step", **{keys[name][0]: keys[name][2] for name in lines}), made[0]


def comparison(records: Sequence[RunRecord]) -> str:
    """Return a figure of error against compression, with a numbered point for each finished run."""
    with figure("comparison", 3.4) as (axes, made):
        axes.set(xscale="log", yscale="log", xlabel="compression: weights / kept weights", ylabel="error")
        for number, record in enumerate(records, 1):
            result = record.result
            if result and result["nnz"]["weights"]:
                # A logarithmic axis has no 0, so half an image stands for no error.
                errors = max(result["total"] - result["correct"]["retrained"], 0.5)
                x, y = result["size"]["weights"] / result["nnz"]["weights"], 100 * errors / result["total"]
                colour = COLOURS["blue" if record.config.method == "l0" else "orange"]
                axes.plot(x, y, "o", ms=13, color=colour, mec=COLOURS["paper"], clip_on=False)
                centred = {"ha": "center", "va": "center_baseline", "color": COLOURS["paper"], "fontsize": 8}
                axes.annotate(str(number), (x, y), **centred)
        axes.margins(0.12, 0.15)
        _label_decades(axes.xaxis, "{x:,.10g}\N{MULTIPLICATION SIGN}")
        _label_decades(axes.yaxis, "{x:,.10g} %")
    return made[0]
