"""The scripts in `experiments/` that other tests do not cover."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.fixture(autouse=True)
def scripts_are_importable(monkeypatch):
    """The scripts import each other by their bare names."""
    monkeypatch.syspath_prepend(EXPERIMENTS)


def test_lines_are_counted_and_an_exceeded_budget_fails(monkeypatch, capsys):
    count_lines = importlib.import_module("count_lines")
    for budget in ("CORE_BUDGET", "PACKAGE_BUDGET", "FILE_BUDGET"):
        monkeypatch.setattr(count_lines, budget, 10**6)
    assert count_lines.main() == 0
    lines = capsys.readouterr().out.splitlines()
    counts = {line.split()[1].rstrip(","): int(line.split()[0].replace(",", "")) for line in lines[:-1]}
    rooms = set(count_lines.FLOOR_OF)
    assert rooms < counts.keys() and min(counts.values()) > 0
    assert sum(counts[room] for room in rooms) == counts["package"]
    assert sum(counts[room] for room in count_lines.CORE) == counts["core"] < counts["package"]
    assert "arrows of import between" in lines[-1] and int(lines[-1].split()[0]) > 10

    for budget in ("CORE_BUDGET", "PACKAGE_BUDGET", "FILE_BUDGET"):
        with monkeypatch.context() as patch:
            patch.setattr(count_lines, budget, 100)
            assert count_lines.main() == 1
    capsys.readouterr()


@pytest.mark.parametrize("variant", ["plain", "gated"])
def test_the_measured_step_trains_every_parameter(monkeypatch, variant):
    step_setting, npl0_step = map(importlib.import_module, ("step_setting", "npl0_step"))
    monkeypatch.setitem(step_setting.WORKLOADS, "lenet300", replace(step_setting.LENET, images=256))
    setting = step_setting.Setting("lenet300", variant, threads=1, batch=128, width=1.0)
    network, parts = npl0_step.npl0_step(setting)
    before = [parameter.value.copy() for parameter in network.parameters]
    for i in range(2):
        for part in parts.values():
            part(i)
    # Gated weights are written when the next step begins.
    parts["pruner.write_weights"](2)
    for parameter, value in zip(network.parameters, before, strict=True):
        assert np.abs(parameter.value - value).max() > 0, parameter.name
    # Only gates make weights exactly 0.
    assert any((weight.value == 0).any() for weight in network.weights) == (variant == "gated")
    assert npl0_step.step_macs(network, 128) == 128 * (3 * 266_200 - 784 * 300)


def test_extreme_settings_end_in_sane_results_or_clear_errors(monkeypatch, capsys):
    extremes = importlib.import_module("extremes")
    monkeypatch.setattr(extremes, "MODEL", "mlp:30-20")
    monkeypatch.setattr(extremes.sys, "argv", ["extremes.py", "--images", "200", "--epochs", "2", "--long", "20"])
    with np.errstate(all="ignore"):
        assert extremes.main() == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out and out.count("refused: at step") >= 2 and "the checkpoint of the epoch before" in out
    # A case whose outcome is not sane is noticed.
    monkeypatch.setattr(extremes.npl0, "count_correct", lambda *_: 1 / 0)
    with np.errstate(all="ignore"):
        assert extremes.main() == 1
