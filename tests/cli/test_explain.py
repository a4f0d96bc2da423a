"""`python -m npl0 explain gate`: its numbers against sampling and the operations, its bars, its errors."""

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


@pytest.mark.parametrize("log_alpha", [-3.0, 0.0, 0.5, 4.0])
def test_the_numbers_are_those_of_draws_and_of_the_operations(log_alpha, capsys):
    assert explain.main(["gate", "--log-alpha", str(log_alpha)]) == 0
    out = capsys.readouterr().out
    shown = {name: float(value) for name, value in SHOWN.findall(out)}
    location = np.full(200_000, log_alpha)
    z = hard_concrete.sample(location, (np.arange(200_000) + 0.5) / 200_000)
    expected = {
        "P(z = 0)": (z == 0).mean(),
        "P(z > 0)": hard_concrete.open_probability(location[:1])[0],
        "P(z = 1)": (z == 1).mean(),
        "mean of z": z.mean(),
        "test gate, paper": hard_concrete.deterministic_gate(location[:1])[0],
        "test gate, median": np.median(z),
        "mean of dz/dlog_alpha": hard_concrete.gate_backward(np.ones_like(z), z).mean(),
        "dP(z > 0)/dlog_alpha": np.diff(hard_concrete.open_probability(log_alpha + np.array([-1e-4, 1e-4])))[0] / 2e-4,
    }
    assert shown.keys() == expected.keys()
    for name, value in expected.items():
        assert shown[name] == pytest.approx(value, abs=1e-4), name
    drawn = [(z == 0).mean(), *np.histogram(z[(z > 0) & (z < 1)], 10, (0, 1))[0] / z.size, (z == 1).mean()]
    shares = [float(share) for share in re.findall(r"^ *(?:z = .|\S+ to \S+)  +(\d+\.\d\d) %", out, re.MULTILINE)]
    np.testing.assert_allclose(shares, 100 * np.array(drawn), atol=0.011)
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
