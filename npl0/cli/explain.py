"""`python -m npl0 explain`: what one gate does, drawn in the terminal."""

import math
import sys

from npl0.settings.flags import Parser

WIDTH, BINS, LARGEST = 40, 10, 40.0


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


def gate_facts(log_alpha: float) -> dict[str, float]:
    """Return probabilities, means, test gates and gradients of a hard-concrete gate, by name.

    All of them follow from F(t) = P(z <= t): the mean is the integral of 1 - F over [0, 1], and its derivative that of
    F (1 - F), because F is a sigmoid of a term minus log_alpha.
    """
    import numpy as np

    from npl0.ops import hard_concrete

    location = np.array([log_alpha])
    p = hard_concrete.open_probability(location)
    below = distribution(log_alpha, (np.arange(10_000) + 0.5) / 10_000)
    return {
        "P(z = 0)": float(distribution(log_alpha, 0.0)),
        "P(z = 1)": 1 - float(distribution(log_alpha, 1.0)),
        "P(z > 0)": float(p[0]),
        "mean": float((1 - below).mean()),
        **{rule: float(hard_concrete.deterministic_gate(location, rule)[0]) for rule in hard_concrete.TEST_GATES},
        "slope of the mean": float((below * (1 - below)).mean()),
        "slope of P(z > 0)": float(hard_concrete.open_probability_backward(1.0, p)[0]),
    }


def distribution(log_alpha, t):
    """Compute P(z <= t) for t in [0, 1), and P(z < 1) for t = 1: `sigmoid(beta log((t - gamma) / (zeta - t)) - ...)`.

    The last term is log_alpha: z <= t where the noise log(u / (1 - u)), whose distribution is a sigmoid, is below that.
    """
    import numpy as np
    from scipy.special import expit

    from npl0.ops.hard_concrete import BETA, GAMMA, ZETA

    return expit(BETA * np.log((t - GAMMA) / (ZETA - t)) - log_alpha)


def draw_gate(log_alpha: float, encoding: str) -> list[str]:
    """Return the picture and the numbers of a gate as lines that the encoding can hold."""
    import numpy as np

    facts = gate_facts(log_alpha)
    shares = np.diff(distribution(log_alpha, np.linspace(0, 1, BINS + 1)))
    rows = [("z = 0", facts["P(z = 0)"])]
    rows += [(f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}", float(share)) for i, share in enumerate(shares)]
    rows += [("z = 1", facts["P(z = 1)"])]
    largest = max(share for _, share in rows)
    bars = [f"{name:>10}  {100 * share:6.2f} %  {bar(share / largest, encoding)}".rstrip() for name, share in rows]
    kept = "is kept" if facts["paper"] else "is pruned"
    numbers = [
        ("P(z = 0)", f"{facts['P(z = 0)']:.4f}", "the gate closes: the weight is exactly 0 in this draw"),
        ("P(z > 0)", f"{facts['P(z > 0)']:.4f}", "what the penalty charges for, times lambda / N"),
        ("P(z = 1)", f"{facts['P(z = 1)']:.4f}", "the gate is fully open"),
        ("mean of z", f"{facts['mean']:.4f}", "over all draws"),
        ("test gate, paper", f"{facts['paper']:.4f}", f"0 for log_alpha <= -2.398; by it this weight {kept}"),
        ("test gate, median", f"{facts['median']:.4f}", "0 for log_alpha <= -1.599; half of the draws lie below it"),
        (
            "mean of dz/dlog_alpha",
            f"{facts['slope of the mean']:.4f}",
            "the mean pull of the loss, times grad_w theta",
        ),
        ("dP(z > 0)/dlog_alpha", f"{facts['slope of P(z > 0)']:.4f}", "the pull of the penalty, times lambda / N"),
    ]
    silent = facts["P(z = 0)"] + facts["P(z = 1)"]
    return [
        f"A hard-concrete gate with log_alpha = {log_alpha:g}: how often a draw of z falls where",
        "",
        *bars,
        "",
        *(f"{name:22} {value}  {what}" for name, value, what in numbers),
        "",
        f"In {100 * silent:.1f} % of the draws z is exactly 0 or 1; then dz/dlog_alpha is 0: the loss is not heard.",
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
