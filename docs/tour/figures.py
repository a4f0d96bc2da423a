"""Draw the figures of the tour from what the code of its chapters computes, in a light and a dark version.

Usage: python docs/tour/figures.py [CHAPTER...] [--out DIR] [--format svg]    (needs matplotlib, the extra `plot`)
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOUR = Path(__file__).resolve().parent
OUT = TOUR.parent / "figures" / "tour"

THEMES = {
    "light": {
        "paper": "#ffffff",
        "ink": "#1f2328",
        "soft": "#59636e",
        "line": "#d1d9e0",
        "shade": "#eaeef2",
        "blue": "#0969da",
        "orange": "#bc4c00",
        "green": "#1a7f37",
    },
    "dark": {
        "paper": "#0d1117",
        "ink": "#f0f6fc",
        "soft": "#9198a1",
        "line": "#30363d",
        "shade": "#21262d",
        "blue": "#58a6ff",
        "orange": "#f0883e",
        "green": "#3fb950",
    },
}
# Pictures of other pages, drawn from their code like those of chapters.
PAGES = {"collapse": TOUR.parent / "deep-networks.md"}
# Chapter -> (width and height in inches, function that draws); filled by `figure`.
FIGURES: dict[str, tuple[tuple[float, float], Callable]] = {}


def blocks(chapter: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the Python blocks of a chapter, each with the text block that follows it, if one does."""
    pattern = r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?"
    for match in re.finditer(pattern, chapter.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        yield match[1], match[2]


def figure(chapter: str, width: float, height: float) -> Callable:
    """Register a function (figure, names, colours) that draws the figure of a chapter."""

    def register(function: Callable) -> Callable:
        FIGURES[chapter] = (width, height), function
        return function

    return register


def draw(chapter: str, names: dict[str, Any], theme: str, folder: Path, suffix: str = "svg") -> Path:
    """Draw the figure of a chapter from the names its code has defined; return the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    c = THEMES[theme]
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "svg.hashsalt": "npl0",
        "text.color": c["ink"],
        "axes.edgecolor": c["line"],
        "axes.facecolor": c["paper"],
        "axes.labelcolor": c["soft"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9.5,
        "axes.titlecolor": c["ink"],
        "axes.titlelocation": "left",
        "figure.facecolor": c["paper"],
        "xtick.color": c["line"],
        "ytick.color": c["line"],
        "xtick.labelcolor": c["soft"],
        "ytick.labelcolor": c["soft"],
        "legend.frameon": False,
        "lines.linewidth": 2,
    }
    size, function = FIGURES[chapter]
    path = folder / f"{chapter}-{theme}.{suffix}"
    with pyplot.rc_context(style):
        drawn = pyplot.figure(figsize=size, layout="constrained")
        function(drawn, names, c)
        drawn.savefig(path, metadata={"Date": None} if suffix == "svg" else None, dpi=110)
        pyplot.close(drawn)
    return path


def diverging(c: dict[str, str]) -> Any:
    """Return a colour map from blue through the shade of empty space to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("diverging", [c["blue"], c["shade"], c["orange"]])


def bare(axes: Any) -> None:
    """Remove the frame and ticks of an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def grid(axes: Any, values: Any, texts: Any, c: dict[str, str], colours: Any = None, size: float = 8.5) -> None:
    """Draw a matrix as cells with texts; `colours` gives each cell a value in [-1, 1] of the diverging map."""
    rows, columns = values.shape
    colours = values * 0 if colours is None else colours
    axes.imshow(colours, cmap=diverging(c), vmin=-1, vmax=1, aspect="equal")
    for i in range(rows):
        for j in range(columns):
            axes.text(j, i, texts[i][j], ha="center", va="center", fontsize=size)
    for i in range(rows + 1):
        axes.axhline(i - 0.5, color=c["paper"], lw=2)
    for j in range(columns + 1):
        axes.axvline(j - 0.5, color=c["paper"], lw=2)
    bare(axes)


@figure("00", 7.2, 2.9)
def the_gate_against_its_noise(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.9), sharey=True)
    low, high = names["GAMMA"], names["ZETA"]
    left.axhspan(low, 0, color=c["shade"], lw=0)
    left.axhspan(1, high, color=c["shade"], lw=0)
    left.plot([0, 1], [low, high], "--", color=c["soft"], lw=1.2)
    ends = [-low / (high - low), (1 - low) / (high - low)]
    left.plot([0, *ends, 1], [0, 0, 1, 1], color=c["ink"])
    left.annotate("stretched", (0.93, high - 0.085), (0.42, 1.035), color=c["soft"], va="center")
    left.annotate("clipped", (0.5, 0.5), (8, -8), textcoords="offset points")
    left.set_xlabel("s, from the sigmoid")
    left.set_title("stretch and clip: gate z")
    left.set_xlim(0, 1)
    left.set_xticks([0, 0.5, 1])
    left.set_yticks([low, 0, 0.5, 1, high], ["-0.1", "0", "0.5", "1", "1.1"])
    for (log_alpha, z), name in zip(names["gates"].items(), ("blue", "green", "orange"), strict=True):
        right.plot(names["u"], z, color=c[name])
        share = (z == 0).mean()
        right.plot([0, share], [0, 0], color=c[name], lw=5, solid_capstyle="butt", clip_on=False)
        place = abs(z - 0.5).argmin()
        text = rf"$\log\alpha$ = {log_alpha:g}"
        right.annotate(text, (names["u"][place], 0.5), (5, -12), textcoords="offset points", color=c[name])
    arrow = {"arrowstyle": "->", "color": c["soft"]}
    right.annotate("exactly 0", (0.34, 0), (0.5, 0.04), arrowprops=arrow)
    right.annotate("exactly 1", (0.44, 1), (0.5, 0.87), arrowprops=arrow)
    right.set_xlabel("noise u, uniform")
    right.set_title("gate z")
    right.set_xlim(0, 1)
    right.tick_params(labelleft=True)
    right.set_ylim(low, high)


@figure("01", 7.2, 3.0)
def ten_templates(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    limit = abs(names["w"]).max() * 0.8
    for digit, axes in enumerate(drawn.subplots(2, 5).ravel()):
        axes.imshow(names["w"][digit].reshape(28, 28), cmap=diverging(c), vmin=-limit, vmax=limit)
        axes.set_title(digit, loc="center", pad=2)
        bare(axes)


@figure("02", 7.2, 3.2)
def errors_of_gradients(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    axes = drawn.subplots()
    colours = {"right": c["blue"]}
    for (name, error), style in zip(names["errors"].items(), ("-", "-", "--", ":"), strict=True):
        axes.loglog(names["steps"], error, style, color=colours.get(name, c["orange"]), marker="o", ms=3.5, label=name)
    axes.invert_xaxis()
    axes.set_xlabel("step h, smaller to the right")
    axes.set_title("relative error of a claimed gradient")
    axes.legend(loc=(0.2, 0.5))
    axes.annotate(
        "rounding",
        (names["steps"][9], names["errors"]["right"][9]),
        (-56, 0),
        textcoords="offset points",
        color=c["soft"],
    )


@figure("03", 7.2, 2.6)
def windows_as_columns(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    import numpy as np

    left, right = drawn.subplots(1, 2, width_ratios=(4, 9.4))
    picture, cols = names["picture"][0, :, :, 0], names["cols"]
    chosen = cols[:, 5]
    for axes, values, title in (
        (left, picture, "an image, one window marked"),
        (right, cols, "im2col: its nine windows as columns"),
    ):
        marked = np.isin(values, chosen) * 0.35
        if values is cols:
            marked = np.zeros_like(cols)
            marked[:, 5] = 0.6
        grid(axes, values, values.astype(int), c, marked * (1 if values is cols else 0.6 / 0.35))
        axes.set_title(title)


@figure("04", 7.2, 2.7)
def gradients_to_the_winners(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    left, middle, right = drawn.subplots(1, 3, width_ratios=(6, 3, 6))
    x, y, dx = names["x"], names["y"].reshape(3, 3), names["dx"]
    winners = (names["cells"] == names["cells"].max(axis=1, keepdims=True)).reshape(3, 3, 2, 2)
    winners = winners.transpose(0, 2, 1, 3).reshape(6, 6)
    grid(left, x, [[f"{v:.1f}" for v in row] for row in x], c, winners * 0.6, 7.5)
    grid(middle, y, [[f"{v:.1f}" for v in row] for row in y], c, (y > 0) * 0.6, 7.5)
    texts = [[f"{v:.2f}" if v else "" for v in row] for row in dx]
    grid(right, dx, texts, c, dx / abs(dx).max(), 6.5)
    left.set_title("input; winners marked")
    middle.set_title("output")
    right.set_title("gradient of the input")


@figure("05", 7.2, 2.8)
def loss_and_accuracy(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    left, right = drawn.subplots(1, 2)
    left.plot(range(1, len(names["losses"]) + 1), names["losses"], color=c["orange"], lw=1.5)
    left.set_title("loss of a batch", color=c["orange"])
    right.plot(range(1, 142, 10), [100 * a for a in names["accuracies"]], color=c["blue"], marker="o", ms=4)
    right.set_title("test images right, %", color=c["blue"])
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=c["line"], lw=0.6)


@figure("06", 7.2, 3.0)
def magnitude_and_importance(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    for axes, size, rise, title, colour in zip(
        drawn.subplots(1, 2, sharey=True),
        (names["size"], names["size_after"]),
        (names["rise"], names["rise_after"]),
        ("as trained", "the same function, units rescaled"),
        (c["blue"], c["orange"]),
        strict=True,
    ):
        axes.semilogx(size, rise, "o", color=colour, ms=4, alpha=0.6, mew=0)
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.set_yticks([-1e-3, 0, 1e-3, 1e-2, 1e-1], ["-0.001", "0", "0.001", "0.01", "0.1"])
        axes.minorticks_off()
        axes.set_title(title, color=colour)
        axes.set_xlabel("magnitude of a weight")
        axes.axhline(0, color=c["line"], lw=1, zorder=0)
        axes.set_xlim(1e-3, 10)
    drawn.axes[0].set_ylabel("rise of the loss without it")


@figure("07", 7.2, 2.9)
def densities_with_spikes(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    import numpy as np

    beta, gamma, zeta, sigmoid = (names[name] for name in ("BETA", "GAMMA", "ZETA", "sigmoid"))
    z = np.linspace(0, 1, 401)
    s = (z - gamma) / (zeta - gamma)
    panels = drawn.subplots(1, 3, sharey=True)
    for axes, (log_alpha, draw), name in zip(panels, names["draws"].items(), ("blue", "green", "orange"), strict=True):
        # P(z below) = sigmoid(beta logit(s) - log_alpha), differentiated.
        below = sigmoid(beta * np.log(s / (1 - s)) - log_alpha)
        density = below * (1 - below) * beta / (s * (1 - s)) / (zeta - gamma)
        inside = draw[(draw > 0) & (draw < 1)]
        heights, edges = np.histogram(inside, 25, (0, 1))
        axes.bar(edges[:-1], heights / len(draw) * 25, 1 / 25, align="edge", color=c["shade"])
        axes.plot(z, density, color=c[name])
        for place, mass in ((-0.09, (draw == 0).mean()), (1.09, (draw == 1).mean())):
            # A mass is drawn as a bar whose area is its probability, like that of the density.
            axes.bar(place, mass / 0.16, 0.16, align="center", color=c[name], alpha=0.85)
            axes.annotate(f"{mass:.0%}", (place, mass / 0.16), (0, 3), textcoords="offset points", ha="center")
        axes.set_title(rf"$\log\alpha$ = {log_alpha:g}", color=c[name])
        axes.set_xlabel("gate z")
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([])
        axes.set_xlim(-0.2, 1.2)
        axes.spines["left"].set_visible(False)


@figure("08", 7.2, 3.2)
def probabilities_against_location(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    axes = drawn.subplots()
    colours = (c["orange"], c["soft"], c["blue"], c["green"])
    for (name, values), colour, style in zip(names["curves"].items(), colours, ("-", ":", "-", "--"), strict=True):
        axes.plot(names["locations"], values, style, color=colour, label=name)
    axes.axvline(-2.398, color=c["line"], lw=1, zorder=0)
    axes.plot([-2.398], [0.31], "o", color=c["orange"], ms=6)
    axes.annotate("31 % at the threshold", (-2.398, 0.31), (-8, 4), textcoords="offset points", ha="right")
    axes.annotate(
        "fixed gate 0 left of here", (-2.398, 0.97), (-8, 0), textcoords="offset points", ha="right", color=c["blue"]
    )
    axes.set_xlabel(r"$\log\alpha$")
    axes.set_xlim(-6, 6)
    axes.set_ylim(-0.02, 1.03)
    axes.legend(loc="lower right")


@figure("09", 7.2, 4.0)
def lives_of_gates(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    import numpy as np

    lives, is_open, back = names["lives"], names["is_open"], names["back"]
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    steps = np.arange(1, len(lives) + 1)
    # The gate that came back and had been deepest, one that sank and rose without closing, one that closed for good.
    deepest = back[lives[:, back].min(axis=0).argmin()]
    always = np.flatnonzero(is_open.all(axis=0) & (lives[449] > 1.5))
    survivor = always[lives[:450, always].min(axis=0).argmin()]
    closing = is_open.argmin(axis=0)
    gone = np.flatnonzero((closing > 330) & (closing < 350) & ~is_open[-1])[0]
    for gate, name, text in (
        (survivor, "blue", "stays open"),
        (deepest, "green", "closes, and comes back"),
        (gone, "orange", "closes for good"),
    ):
        top.plot(steps[::5], lives[::5, gate], color=c[name])
        top.annotate(text, (900, lives[-1, gate]), (4, 3), textcoords="offset points", color=c[name])
    top.axhline(-np.log(11), color=c["soft"], lw=1, ls=(0, (4, 3)))
    top.annotate("below: fixed gate 0", (8, -np.log(11)), (0, -12), textcoords="offset points", color=c["soft"])
    top.set_title(r"$\log\alpha$ of three gates")
    bottom.fill_between(steps[::5], names["prices"][::5], color=c["shade"])
    bottom.plot(steps[::5], names["prices"][::5], color=c["soft"], lw=1.2)
    bottom.set_title(r"price of an open gate, $\lambda / N$")
    bottom.set_xlabel("step")
    bottom.set_yticks([])
    top.set_xlim(0, 1130)
    bottom.set_xticks(range(0, 901, 150))


@figure("10", 7.2, 4.2)
def pruning_and_retraining(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    top, bottom = drawn.subplots(2, 1, sharex=True)
    rows, classic = names["rows"], names["classic_rows"]
    epochs = range(1, len(rows) + 1)
    trained = sum(row.stage == "train" for row in rows)
    for axes in (top, bottom):
        axes.axvspan(trained, len(rows), color=c["shade"], lw=0, zorder=0)
        axes.grid(axis="y", color=c["line"], lw=0.6)
        axes.set_axisbelow(True)
    top.semilogy(epochs, [row.kept for row in rows], color=c["blue"], marker="o", ms=4, label="kept")
    expected = [row.expected_l0 for row in rows[:trained]]
    top.semilogy(epochs[:trained], expected, "--", color=c["orange"], label="expected")
    top.set_yticks([3_000, 10_000, 30_000], ["3,000", "10,000", "30,000"])
    top.minorticks_off()
    top.set_title("weights")
    top.legend(loc="upper right", bbox_to_anchor=(0.74, 1))
    top.annotate("", (5, 2_300), (0.5, 2_300), arrowprops={"arrowstyle": "->", "color": c["soft"]})
    top.text(0.5, 2_500, r"$\lambda$ rises", color=c["soft"])
    top.text(trained + 0.2, 30_000, "prune,\nthen retrain", color=c["soft"])
    bottom.plot(epochs, [100 * row.validation_accuracy for row in rows], color=c["blue"], marker="o", ms=4)
    accuracies = [100 * row.validation_accuracy for row in classic]
    accuracies.insert(trained, 100 * names["cut"])
    places = [*range(1, trained + 1), trained, *range(trained + 1, len(rows) + 1)]
    bottom.plot(places, accuracies, color=c["soft"], lw=1.5, marker="o", ms=3)
    bottom.annotate(
        "classic: the cut",
        (trained, 100 * names["cut"]),
        (-8, -3),
        textcoords="offset points",
        ha="right",
        color=c["soft"],
    )
    bottom.text(5, 84, "with gates", color=c["blue"])
    bottom.set_title("test images right, %")
    bottom.set_xlabel("epoch")
    bottom.set_xticks(range(0, len(rows) + 1, 4))
    bottom.set_ylim(64, 95)


@figure("11", 7.2, 3.0)
def pixels_and_layers(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.25))
    masks, live = names["masks"], names["live"]
    counts = masks[0].sum(axis=0).reshape(28, 28)
    colours = LinearSegmentedColormap.from_list("counts", [c["shade"], c["blue"]])
    image = left.imshow(counts, cmap=colours)
    bare(left)
    left.set_title("kept weights at each pixel")
    bar = drawn.colorbar(image, ax=left, shrink=0.85)
    bar.outline.set_visible(False)
    labels = [f"layer {number + 1}" for number in range(len(masks))]
    for number, mask in enumerate(masks):
        place = len(masks) - number
        right.barh(place, 1, 0.5, color=c["shade"])
        right.barh(place, mask.mean(), 0.5, color=c["blue"])
        share = f"{mask.sum():,} of {mask.size:,} weights"
        right.text(0.99, place + 0.3, share, color=c["ink"], ha="right", va="bottom")
        units = f"{live[number + 1].sum()} of {len(mask)} outputs live"
        right.text(0.99, place, units, color=c["soft"], ha="right", va="center")
    right.set_yticks(range(len(masks), 0, -1), labels)
    right.set_xlim(0, 1)
    right.set_ylim(0.6, len(masks) + 0.75)
    right.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    right.set_title("share of the weights that is kept")
    right.spines["left"].set_visible(False)


@figure("12", 8.6, 2.4)
def five_calls(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    axes = drawn.subplots()
    bare(axes)
    axes.set_xlim(0, 5)
    axes.set_ylim(0.35, 2.65)
    calls = (
        ("pruner.\nwrite_weights", "blue", "z = draw_gates(...)\nw = theta * z"),
        (
            "network.loss_\nand_gradients",
            "green",
            "forward(...)\ncross_entropy(...)\nbackward(...)",
        ),
        ("pruner.\nread_gradients", "blue", "price, p = ...\ngradients = ..."),
        ("optimizer.\nstep", "orange", "adam(...)"),
        ("pruner.\nafter_step", "blue", "(nothing)"),
    )
    between = (
        "weights",
        "gradients of\nthe weights",
        r"gradients of" "\n" r"$\theta$ and $\log\alpha$",
        r"$\theta$, $\log\alpha$",
    )
    for place, (call, colour, lines) in enumerate(calls):
        axes.text(place + 0.5, 1.75, call, ha="center", va="center", fontsize=8.5, color=c["paper"], zorder=3)
        box = {"facecolor": c[colour], "edgecolor": "none", "zorder": 2}
        axes.add_patch(_rounded(place + 0.13, 1.42, 0.74, 0.66, box))
        axes.text(place + 0.5, 1.15, lines, ha="center", va="top", fontsize=7, family="DejaVu Sans Mono")
        arrow = {"arrowstyle": "->", "color": c["soft"]}
        if place < 4:
            axes.annotate("", (place + 1.13, 1.75), (place + 0.87, 1.75), arrowprops=arrow)
            axes.text(place + 1, 2.2, between[place], ha="center", va="bottom", fontsize=7.5, color=c["soft"])
    axes.text(0.13, 0.4, "below each call: the lines of one_evening.py", color=c["soft"], fontsize=8)


@figure("collapse", 7.2, 3.2)
def collapsing_layers(drawn: Any, names: dict[str, Any], c: dict[str, str]) -> None:
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("layers", [c["blue"], c["green"], c["orange"]])
    left, right = drawn.subplots(1, 2, sharey=True)
    for axes, name, title in (
        (left, "collapsed", "full price at once"),
        (right, "rising", "a ramp of 8 epochs"),
    ):
        kept = np.array(names[name].kept)
        for layer, counts in enumerate(kept.T):
            label = {0: "first layer", kept.shape[1] - 1: "last layer"}.get(layer)
            colour = colours(layer / (kept.shape[1] - 1))
            axes.plot(range(1, len(kept) + 1), counts, color=colour, lw=1.6, label=label, clip_on=False)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([0, 1, 10, 100, 1000, 10_000], ["0", "1", "10", "100", "1,000", "10,000"])
        axes.minorticks_off()
        axes.set_ylim(0, 30_000)
        axes.set_xticks([1, 4, 8, 12, 16])
        axes.set_xlabel("epoch")
        axes.set_title(f"{title}: {100 * names[name].accuracy[-1]:.0f} % right")
        axes.grid(axis="y", color=c["line"], lw=0.6)
    left.set_ylabel("kept weights of each layer")
    right.legend(loc="upper right")


def _rounded(x: float, y: float, width: float, height: float, style: dict[str, Any]) -> Any:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", **style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers of chapters, like 07; default: all")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    parser.add_argument("--format", default="svg", choices=("svg", "png"), help="format of the figures (default: svg)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(TOUR))
    os.chdir(TOUR)
    for number in options.chapters or sorted(FIGURES):
        (chapter,) = [PAGES[number]] if number in PAGES else TOUR.glob(f"{number}-*.md")
        names = {"__name__": "chapter"}
        for code, _ in blocks(chapter):
            exec(compile(code, chapter.name, "exec"), names)
        for theme in THEMES:
            print(draw(number, names, theme, options.out, options.format))


if __name__ == "__main__":
    main()
