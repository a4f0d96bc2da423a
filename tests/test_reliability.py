"""Short forms of the scripts whose full figures `docs/reliability.md` reports."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def run(script, *arguments):
    command = [sys.executable, str(EXPERIMENTS / script), *arguments]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_runs_end_in_the_same_bits():
    out = run("kill_test.py", "--kills=4", "--method=magnitude", "--model=lenet300")
    assert out.startswith("magnitude: 4 kills, ") and ": identical (" in out


@pytest.mark.slow
def test_runs_started_in_every_way_give_the_same_bits():
    assert run("determinism.py", "--short").endswith("\n7 outcomes, 0 of them different\n")


def test_the_scripts_see_a_changed_bit_and_ignore_the_times(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    kill_test = importlib.import_module("kill_test")

    def contents(weight=1.0, loss="0.5", seconds="1.0", layers="a\n", kept=1):
        np.savez(tmp_path / "snapshots.npz", kept=[kept])
        np.savez(tmp_path / "model.npz", header=np.zeros(3, np.uint8), weight=np.float32([0, weight]))
        (tmp_path / "log.csv").write_text(f"stage,loss,seconds\ntrain,{loss},{seconds}\n")
        (tmp_path / "result.json").write_text(f'{{"total": 500, "seconds": {{"train": {seconds}}}}}')
        (tmp_path / "layers.csv").write_text(layers)
        return kill_test.contents(tmp_path)

    whole = contents()
    assert kill_test.difference(whole, contents(seconds="2.0")) == []
    assert kill_test.difference(whole, contents(weight=np.nextafter(np.float32(1), 2))) == ["model.npz: weight.npy"]
    assert kill_test.difference(whole, contents(loss="0.5000000000000001")) == ["log.csv: 0: loss"]
    assert kill_test.difference(whole, contents(layers="b\n")) == ["layers.csv"]
    assert kill_test.difference(whole, contents(kept=2)) == ["snapshots.npz: kept.npy"]
    assert kill_test.difference(whole, dict(reversed(whole.items()))) == ["the order of the arrays"]
