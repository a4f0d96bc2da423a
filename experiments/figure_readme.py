"""Draw the README's figure, the default run epoch by epoch, in a light and a dark version.

Usage: python experiments/figure_readme.py [--out DIR] [--format svg]    (needs matplotlib, the extra `plot`)
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "main"
RUN = RESULTS / "lenet5-mnist-l0-750ccc39-s0"
# Before its cut, the network of the classic method was trained without gates: it is the dense network to compare with.
DENSE_RUN = RESULTS / "lenet5-mnist-magnitude-df953ba2-s0"

THEMES = {
    "light": {"paper": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "line": "#d1d9e0", "shade": "#f3f5f8"},
    "dark": {"paper": "#0d1117", "ink": "#f0f6fc", "soft": "#9198a1", "line": "#30363d", "shade": "#161c24"},
}
WEIGHTS = {"light": "#0969da", "dark": "#58a6ff"}
ACCURACY = {"light": "#bc4c00", "dark": "#f0883e"}


def read_run() -> dict[str, Any]:
    """Return the numbers of the figure from the stored runs.

    Returns
    -------
    run : `kept` and `train_accuracy` by epoch, both stages; `size`, the number of weights; `ramp`, the epochs over
        which lambda rises; `epochs` of training; `test`, the test accuracy by stage; `dense`, the test accuracy of the
        dense network.
    """
    rows = list(csv.DictReader((RUN / "log.csv").read_text(encoding="utf-8").splitlines()))
    result = json.loads((RUN / "result.json").read_text(encoding="utf-8"))
    dense = json.loads((DENSE_RUN / "result.json").read_text(encoding="utf-8"))
    return {
        "kept": [int(row["kept"]) for row in rows],
        "train_accuracy": [100 * float(row["train_accuracy"]) for row in rows],
        "size": result["size"]["weights"],
        "ramp": result["config"]["l0"]["ramp_epochs"],
        "epochs": result["epochs"]["train"],
        "test": {point: 100 * accuracy for point, accuracy in result["accuracy"].items()},
        "dense": 100 * dense["accuracy"]["trained"],
    }


def draw(run: dict[str, Any], theme: str, path: Path) -> None:
    """Draw the figure in one theme."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours, blue, orange = THEMES[theme], WEIGHTS[theme], ACCURACY[theme]
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
    heading = {"fontweight": "bold", "fontsize": 10.5}
    epochs, last = run["epochs"], len(run["kept"])
    with pyplot.rc_context(style):
        figure, (top, bottom) = pyplot.subplots(
            2, sharex=True, figsize=(8.6, 5.0), height_ratios=(1.25, 1), layout="constrained"
        )
        for axes in (top, bottom):
            axes.axvspan(epochs, last, color=colours["shade"], lw=0, zorder=0)
            axes.axvline(epochs, color=colours["soft"], lw=1, ls=(0, (4, 3)), zorder=1)
            axes.grid(axis="y", color=colours["line"], lw=0.6, alpha=0.6)
            axes.tick_params(which="both", length=0)
            axes.set_axisbelow(True)

        top.set_yscale("log")
        top.plot(range(last + 1), [run["size"], *run["kept"]], color=blue, lw=2.4, marker="o", ms=4.5)
        top.set_ylim(1_300, 1_100_000)
        top.set_yticks([10_000, 100_000], ["10,000", "100,000"])
        top.minorticks_off()
        top.set_title("weights kept", loc="left", color=blue, **heading)
        top.annotate(f"{run['size']:,} weights", (0, run["size"]), (9, 2), textcoords="offset points")
        arrow = {"arrowstyle": "->", "color": colours["soft"], "lw": 1}
        top.annotate("", (run["ramp"], 2_700), (0, 2_700), arrowprops=arrow)
        top.text(run["ramp"] / 2, 2_000, "lambda rises", color=colours["soft"], ha="center", va="top")
        fewer = f"{run['kept'][-1]:,} weights, {run['size'] / run['kept'][-1]:.0f} times fewer"
        top.annotate(fewer, (epochs, run["kept"][-1]), (-10, 14), textcoords="offset points", ha="right")
        top.text(epochs + 0.2, 500_000, "prune,\nthen retrain", color=colours["soft"], va="top", linespacing=1.3)

        bottom.axhline(run["dense"], color=colours["soft"], lw=1.2, ls=(0, (1, 1.6)))
        dense = f"dense network, on the test set: {run['dense']:.2f} %"
        bottom.text(0, run["dense"] + 0.06, dense, color=colours["soft"])
        bottom.plot(range(1, last + 1), run["train_accuracy"], color=orange, lw=2.4)
        trained, pruned, retrained = (run["test"][point] for point in ("trained", "pruned", "retrained"))
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
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
        pyplot.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures", help="folder of the figures")
    parser.add_argument("--format", default="svg", choices=("svg", "png"), help="format of the figures (default: svg)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        draw(read_run(), theme, options.out / f"default-run-{theme}.{options.format}")
