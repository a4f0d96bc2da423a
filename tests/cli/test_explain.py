"""`python -m npl0 explain gate`: its numbers against the closed forms, its bars, its errors."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from npl0.cli import explain
from npl0.ops import hard_concrete

SHOWN = re.compile(r"^(\S.*?) +(\d\.\d{4})  ", re.MULTILINE)


def distribution(log_alpha, t):
    """Compute P(z <= t) for t in [0, 1), and P(z < 1) for t = 1.

    z <= t where the noise log(u / (1 - u)), whose distribution is a sigmoid, is at most
    beta log((t - gamma) / (zeta - t)) - log_alpha.
    """
    gamma, zeta = hard_concrete.GAMMA, hard_concrete.ZETA
    return hard_concrete.sigmoid(hard_concrete.BETA * np.log((t - gamma) / (zeta - t)) - log_alpha)


@pytest.mark.parametrize("log_alpha", [-3.0, 0.0, 0.5, 4.0])
def test_the_numbers_are_those_of_the_distribution_and_of_the_operations(log_alpha, capsys):
    assert explain.main(["gate", "--log-alpha", str(log_alpha)]) == 0
    out = capsys.readouterr().out
    shown = {name: float(value) for name, value in SHOWN.findall(out)}
    location, steps = np.array([log_alpha]), np.array([-1e-4, 1e-4])
    closed, open_ = distribution(log_alpha, np.array([0.0, 1.0]))
    # The mean is the integral of 1 - F over [0, 1], and its derivative that of F (1 - F).
    below = distribution(log_alpha, (np.arange(10_000) + 0.5) / 10_000)
    expected = {
        "P(z = 0)": closed,
        "P(z > 0)": 1 - closed,
        "P(z = 1)": 1 - open_,
        "mean of z": (1 - below).mean(),
        "test gate, paper": hard_concrete.deterministic_gate(location)[0],
        "test gate, median": (below < 0.5).mean(),
        "mean of dz/dlog_alpha": (below * (1 - below)).mean(),
        "dP(z > 0)/dlog_alpha": -np.diff(distribution(log_alpha + steps, 0.0))[0] / 2e-4,
    }
    assert shown.keys() == expected.keys()
    for name, value in expected.items():
        assert shown[name] == pytest.approx(value, abs=1e-4), name
    drawn = [closed, *np.diff(distribution(log_alpha, np.linspace(0, 1, 11))), 1 - open_]
    shares = [float(share) for share in re.findall(r"^ *(?:z = .|\S+ to \S+)  +(\d+\.\d\d) %", out, re.MULTILINE)]
    np.testing.assert_allclose(shares, 100 * np.array(drawn), atol=0.0051)
    assert ("is pruned" in out) == (log_alpha <= -2.398)


def test_bars_are_proportional_and_fit_the_console():
    assert explain.bar(1, "utf-8") == "█" * explain.WIDTH
    assert explain.bar(0.5 + 3 / 8 / explain.WIDTH, "utf-8") == "█" * (explain.WIDTH // 2) + "▍"
    assert explain.bar(0, "utf-8") == ""
    assert explain.bar(0.5, "ascii") == explain.bar(0.5, "latin-1") == explain.bar(0.5, "no-such") == "#" * 20


def test_a_console_without_blocks_can_show_the_picture():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "npl0", "explain", "gate", "--log-alpha", "-3"]
    out = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode("ascii")
    assert "#" * explain.WIDTH in out and "\\u" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gate", "--log-alpha", "nan"], "explain gate: --log-alpha must be -40 to 40, not nan"),
        (["gate", "--log-alpha", "41"], "explain gate: --log-alpha must be -40 to 40, not 41"),
        (["gates"], "invalid choice: 'gates'"),
        ([], "required: PART"),
    ],
)
def test_usage_errors_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        explain.main(arguments)
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and error.count("\n") == 1


def test_an_output_without_an_encoding_gets_ascii(monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    assert explain.main(["gate"]) == 0
    assert "#" in out.getvalue() and "█" not in out.getvalue()
