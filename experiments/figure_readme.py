"""Draw the README's figure from the default run: gates closing, weights and accuracy, in a light and a dark version.

Usage: python experiments/figure_readme.py [--run RUN] [--dense RUN] [--out DIR] [--format svg]    (needs matplotlib)

RUN is what `python -m npl0.run` records. The dense network to compare with is that of a magnitude run before its cut.
The maps of the largest layer need the snapshots of the run; without them, the figure has its two curves only.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from npl0.report import RunRecord, read_run

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "main"

THEMES = {
    "light": {"paper": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "line": "#d1d9e0", "shade": "#f3f5f8"},
    "dark": {"paper": "#0d1117", "ink": "#f0f6fc", "soft": "#9198a1", "line": "#30363d", "shade": "#161c24"},
}
WEIGHTS = {"light": "#0969da", "dark": "#58a6ff"}
ACCURACY = {"light": "#bc4c00", "dark": "#f0883e"}
MAPS = 5


def maps(record: RunRecord) -> list[tuple[str, str, np.ndarray]]:
    """Return the largest layer at some moments of training: when, how many of its weights are kept, and where."""
    grids = record.header.get("grids", [])
    if not grids:
        return []
    sizes = [rows * columns for rows, columns in grids]
    layer = int(np.argmax(sizes))
    cells = np.split(record.arrays["cells"], np.cumsum(sizes)[:-1], axis=1)[layer]
    moments = [i for i, moment in enumerate(record.moments) if moment["name"] in ("start", "train")]
    # Most gates close early: the moments at which the logarithm of the kept weights has fallen by equal parts.
    kept = record.arrays["kept"][moments, layer]
    targets = np.geomspace(kept[0], max(kept[-1], 1), MAPS)
    chosen = dict.fromkeys(moments[int(np.argmin(np.abs(np.log(kept / target))))] for target in targets[:-1])
    found = []
    for i in [*chosen, moments[-1]]:
        moment, shape = record.moments[i], grids[layer]
        picture = cells[i].reshape(shape) / cells.max()
        when = "before training" if moment["name"] == "start" else f"after epoch {moment['epoch']}"
        found.append((when, f"{record.arrays['kept'][i, layer]:,}", picture))
    return found


def draw(record: RunRecord, dense: float, theme: str, path: Path) -> None:
    """Draw the figure in one theme; `dense` is the test accuracy of the dense network in per cent."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours, shown = THEMES[theme], maps(record)
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "svg.hashsalt": "npl0",
        "text.color": colours["ink"],
        "axes.edgecolor": colours["line"],
        "axes.facecolor": colours["paper"],
        "axes.labelcolor": colours["soft"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": colours["paper"],
        "xtick.color": colours["line"],
        "ytick.color": colours["line"],
        "xtick.labelcolor": colours["soft"],
        "ytick.labelcolor": colours["soft"],
    }
    with pyplot.rc_context(style):
        figure = pyplot.figure(figsize=(8.6, 6.6 if shown else 5.0), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=(1, 2.9), hspace=0.03) if shown else [None, figure]
        if shown:
            _draw_maps(parts[0], record, shown, theme)
        _draw_curves(parts[-1], record, dense, theme)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
        pyplot.close(figure)


def _draw_maps(figure: Any, record: RunRecord, shown: list[tuple[str, str, np.ndarray]], theme: str) -> None:
    from matplotlib.colors import to_rgb

    colours, blue = THEMES[theme], WEIGHTS[theme]
    name, shape = record.header["layers"][int(np.argmax([rows * columns for rows, columns in record.header["grids"]]))]
    size = f"{int(np.prod(shape)):,}"
    figure.suptitle(
        f"the {size} weights of {name.partition('.')[0]}: blue where a gate is open",
        x=0.008, ha="left", fontweight="bold", fontsize=10.5, color=blue,
    )  # fmt: skip
    for axes, (when, kept, picture) in zip(figure.subplots(1, len(shown)), shown, strict=True):
        high, wide = (side // 2 * 2 for side in picture.shape)
        coarse = picture[:high, :wide].reshape(high // 2, 2, wide // 2, 2).mean(axis=(1, 3))
        image = np.empty((*coarse.shape, 4))
        # A single open gate among sixteen is still seen.
        image[..., :3], image[..., 3] = to_rgb(blue), np.sqrt(coarse)
        axes.set_facecolor(colours["shade"])
        axes.imshow(image, aspect="auto", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(f"{when}\n{kept} kept", color=colours["soft"], fontsize=9, linespacing=1.35)


def _draw_curves(figure: Any, record: RunRecord, dense: float, theme: str) -> None:
    colours, blue, orange = THEMES[theme], WEIGHTS[theme], ACCURACY[theme]
    result, heading = record.result, {"fontweight": "bold", "fontsize": 10.5}
    kept, size = [row["kept"] for row in record.rows], result["size"]["weights"]
    accuracy = [100 * row["train_accuracy"] for row in record.rows]
    epochs, last, ramp = record.epochs["train"], len(kept), record.config.options.ramp_epochs
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(1.25, 1))
    for axes in (top, bottom):
        axes.axvspan(epochs, last, color=colours["shade"], lw=0, zorder=0)
        axes.axvline(epochs, color=colours["soft"], lw=1, ls=(0, (4, 3)), zorder=1)
        axes.grid(axis="y", color=colours["line"], lw=0.6, alpha=0.6)
        axes.tick_params(which="both", length=0)
        axes.set_axisbelow(True)

    top.set_yscale("log")
    top.plot(range(last + 1), [size, *kept], color=blue, lw=2.4, marker="o", ms=4.5)
    low = 0.5 * kept[-1]
    top.set_ylim(low, 2.5 * size)
    top.set_yticks([10_000, 100_000], ["10,000", "100,000"])
    top.minorticks_off()
    top.set_title("weights kept", loc="left", color=blue, **heading)
    top.annotate(f"{size:,} weights", (0, size), (9, 2), textcoords="offset points")
    arrow = {"arrowstyle": "->", "color": colours["soft"], "lw": 1}
    top.annotate("", (ramp, 2.1 * low), (0, 2.1 * low), arrowprops=arrow)
    top.text(ramp / 2, 1.55 * low, "lambda rises", color=colours["soft"], ha="center", va="top")
    fewer = f"{kept[-1]:,.0f} weights, {size / kept[-1]:.0f} times fewer"
    top.annotate(fewer, (epochs, kept[-1]), (-10, 14), textcoords="offset points", ha="right")
    top.text(epochs + 0.2, 1.2 * size, "prune,\nthen retrain", color=colours["soft"], va="top", linespacing=1.3)

    bottom.axhline(dense, color=colours["soft"], lw=1.2, ls=(0, (1, 1.6)))
    bottom.text(0, dense + 0.06, f"dense network, on the test set: {dense:.2f} %", color=colours["soft"])
    bottom.plot(range(1, last + 1), accuracy, color=orange, lw=2.4)
    trained, pruned, retrained = (100 * result["accuracy"][point] for point in ("trained", "pruned", "retrained"))
    diamonds = {"color": colours["ink"], "mec": colours["paper"], "ms": 7.5, "clip_on": False, "zorder": 4}
    # Side by side, because pruning does not change the accuracy.
    bottom.plot([epochs - 0.13, epochs + 0.13, last], [trained, pruned, retrained], "D", **diamonds)
    text = f"{trained:.2f} % before, {pruned:.2f} % after pruning"
    bottom.annotate(text, (epochs, trained), (-12, 3), textcoords="offset points", ha="right")
    text = f"{retrained:.2f} %\nafter\nretraining"
    bottom.annotate(text, (last, retrained), (10, 3), textcoords="offset points", va="top", annotation_clip=False)
    bottom.set_ylim(97.2, 99.85)
    bottom.set_yticks([97.5, 98, 98.5, 99, 99.5], ["97.5 %", "98.0 %", "98.5 %", "99.0 %", "99.5 %"])
    title = bottom.set_title("accuracy in training", loc="left", color=orange, **heading)
    bottom.annotate("◆ on the test set", (1, 0), (22, 2.6), xycoords=title, textcoords="offset points", **heading)
    bottom.set_xlim(-0.4, last + 0.2)
    bottom.set_xticks(range(0, last + 1, 3))
    bottom.set_xlabel("epoch")


def only(pattern: str) -> Path:
    """Return the one run folder of a pattern."""
    (folder,) = RESULTS.glob(pattern)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="the default run (default: the one in experiments/results/main)")
    parser.add_argument("--dense", type=Path, help="the magnitude run (default: the one in experiments/results/main)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures", help="folder of the figures")
    parser.add_argument("--format", default="svg", choices=("svg", "png"), help="format of the figures (default: svg)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    record = read_run(options.run or only("lenet5-mnist-l0-*-s0"))
    dense = read_run(options.dense or only("lenet5-mnist-magnitude-*-s0")).result["accuracy"]["trained"]
    for theme in THEMES:
        draw(record, 100 * dense, theme, options.out / f"default-run-{theme}.{options.format}")
