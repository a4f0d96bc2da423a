"""`python -m npl0 explain`: what one gate does, drawn in the terminal."""

import math
import sys

from npl0.settings.flags import Parser

WIDTH, BINS, DRAWS, LARGEST = 40, 10, 1_000_000, 40.0


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 explain") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description="Show what a part of the method does, with numbers.")
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    gate = parts.add_parser("gate", help="draw the distribution of a gate: its two spikes, its means, its gradients")
    gate.add_argument("--log-alpha", type=float, default=0.0, metavar="X", help="location of the gate (default: 0)")
    log_alpha = parser.parse_args(arguments).log_alpha
    if not abs(log_alpha) <= LARGEST:
        gate.error(f"--log-alpha must be -{LARGEST:g} to {LARGEST:g}, not {log_alpha:g}")
    print("\n".join(draw_gate(log_alpha, sys.stdout.encoding or "ascii")))
    return 0


def draw_gate(log_alpha: float, encoding: str) -> list[str]:
    """Return the picture and the numbers of a gate as lines that the encoding can hold.

    They are those of `DRAWS` draws whose noise is spread evenly over (0, 1), exact to the digits shown.
    """
    import numpy as np

    from npl0.ops import hard_concrete

    location = np.full(DRAWS, log_alpha)
    z = hard_concrete.sample(location, (np.arange(DRAWS) + 0.5) / DRAWS)
    closed, full = (z == 0).mean(), (z == 1).mean()
    between = np.histogram(z[(z > 0) & (z < 1)], BINS, (0, 1))[0] / DRAWS
    shares = {"z = 0": closed}
    shares |= {f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}": share for i, share in enumerate(between)}
    shares["z = 1"] = full
    largest = max(shares.values())
    bars = [f"{name:>10}  {100 * n:6.2f} %  {bar(n / largest, encoding)}".rstrip() for name, n in shares.items()]
    (paper,) = hard_concrete.deterministic_gate(location[:1], "paper")
    slope = hard_concrete.gate_backward(np.ones_like(z), z).mean()
    kept = "is kept" if paper else "is pruned"
    numbers = [
        ("P(z = 0)", closed, "the gate closes: the weight is exactly 0 in this draw"),
        ("P(z > 0)", 1 - closed, "what the penalty charges for, times lambda / N"),
        ("P(z = 1)", full, "the gate is fully open"),
        ("mean of z", z.mean(), "over all draws"),
        ("test gate, paper", paper, f"0 for log_alpha <= -2.398; by it this weight {kept}"),
        ("test gate, median", np.median(z), "0 for log_alpha <= -1.599; half of the draws lie below it"),
        ("mean of dz/dlog_alpha", slope, "the mean pull of the loss, times grad_w theta"),
        ("dP(z > 0)/dlog_alpha", closed * (1 - closed), "the pull of the penalty, times lambda / N"),
    ]
    return [
        f"A hard-concrete gate with log_alpha = {log_alpha:g}: how often a draw of z falls where",
        "",
        *bars,
        "",
        *(f"{name:22} {value:.4f}  {what}" for name, value, what in numbers),
        "",
        f"In {100 * (closed + full):.1f} % of the draws z is exactly 0 or 1; then dz/dlog_alpha is 0: the loss is not "
        "heard.",
    ]


def bar(share: float, encoding: str) -> str:
    """Return a bar of up to WIDTH characters, in eighths where the encoding has the block elements, else in whole."""
    whole, eighths = divmod(math.floor(share * WIDTH * 8 + 0.5), 8)
    try:
        blocks = "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()
        blocks.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "#" * (whole + (eighths >= 4))
    return blocks
