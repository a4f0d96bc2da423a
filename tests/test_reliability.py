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


PLANTED = """
import pathlib, shutil, sys
import mutants

base = pathlib.Path(sys.argv[1])
shutil.copytree(mutants.ROOT / "npl0", base / "npl0", ignore=shutil.ignore_patterns("*.gz"))
shutil.copytree(mutants.ROOT / "tests" / "ops", base / "tests" / "ops")
for name in ("pyproject.toml", "tests/conftest.py"):
    shutil.copy2(mutants.ROOT / name, base / name)
names = ("test_cross_entropy_by_hand", "test_cross_entropy_of_shards_adds_up")
mutants.stages_of = lambda file: [[f"tests/ops/test_elementwise.py::{name}" for name in names]]
for original, mutant in (("batch_size or n", "n"), ("[labels, columns] -=", "[labels, columns] +="), ("(n)", "(0, n)")):
    start = (base / "npl0/ops/loss.py").read_text("utf-8").rindex(original)
    place = "npl0/ops/loss.py:1:1"
    print(*mutants.judge(base, mutants.Mutant(place, original, mutant, start, start + len(original))))
"""


def test_planted_mutants_die_and_the_equivalent_one_survives(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(EXPERIMENTS))
    command = [sys.executable, "-c", PLANTED, str(tmp_path)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.stdout.splitlines() == [
        "killed ops/test_elementwise.py::test_cross_entropy_of_shards_adds_up",
        "killed ops/test_elementwise.py::test_cross_entropy_by_hand[float32]",
        "survived ",
    ], done.stderr


def test_mutants_change_code_alone(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    mutants = importlib.import_module("mutants")
    for mutant in mutants.sample(200, 0):
        file = mutant.place.split(":")[0]
        source = (mutants.ROOT / file).read_bytes()
        assert source[mutant.start : mutant.end].decode() == mutant.original != mutant.mutant
        compile(source[: mutant.start] + mutant.mutant.encode() + source[mutant.end :], file, "exec")
    found = {(mutant.original, mutant.mutant) for mutant in mutants.mutants_of("npl0/ops/loss.py")}
    assert {("batch_size or n", "(batch_size and n)"), ("axis=0", "axis=1"), ("1", "(2)")} < found
    assert {("grad /= total", "grad *= total"), ("grad /= total", "pass")} < found
    # Sampling is repeatable, and a longer sample begins with the shorter one; the files take turns.
    short = mutants.sample(30, 1)
    assert short == mutants.sample(60, 1)[:30] != mutants.sample(30, 2)
    assert len({mutant.place.split(":")[0] for mutant in short[:20]}) == 20
