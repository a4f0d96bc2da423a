"""Runs side by side and in odd surroundings, all with the same bits: `python experiments/load_test.py`.

Two runs and an evaluation work in one folder, eight threads predict on whatever cores there are, processes are forked
and spawned, the path has spaces and foreign letters, the locale is not UTF-8, HOME is missing; last, a tiny training of
1,000 epochs must not gain memory or file handles. Exits with code 1 if anything differs. Takes some minutes.
"""

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

import npl0
from npl0.run import main as run_command
from npl0.training.loop import Observer, Stage, train_stage

ROOT = Path(__file__).resolve().parents[1]
GATES = ["--l0-lambda", "20", "--gate-learning-rate", "0.3", "--ramp-epochs", "0"]
SMALL = ["--model", "mlp:40", "--data", "synthetic", "--epochs", "6", "--retrain-epochs", "1", "--quiet", *GATES]


def call(out: Path, *flags: str, **environment: str | None) -> subprocess.Popen:
    """Start a run in a process of its own; an environment variable that is None is removed."""
    changed = {"PYTHONPATH": str(ROOT), **environment}
    kept = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
    command = [sys.executable, "-m", "npl0.run", *SMALL, "--out", str(out), *flags]
    return subprocess.Popen(command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def digest(out: Path, seed: int = 0) -> str:
    """Return a hash of the arrays of the model that a run left under `out`."""
    (folder,) = out.glob(f"*-s{seed}")
    digest = hashlib.sha256()
    network = npl0.load_model(folder)
    network = network[0] if isinstance(network, tuple) else network
    for name, array in network.state().items():
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def finished(process: subprocess.Popen) -> None:
    """Wait for a process; AssertionError with its messages if it fails."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, (out + err).decode(errors="replace")


def run_here(out: str) -> str:
    """Run in this process, as a worker of a pool does, and return the digest."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert run_command([*SMALL, "--out", out]) == 0
    return digest(Path(out))


def two_runs_and_an_evaluation(folder: Path, right: str) -> str:
    """Start the same run twice, another seed and evaluations at once in one folder."""
    processes = [call(folder), call(folder), call(folder, "--seed", "1")]
    finished(processes[2])
    model = next(folder.glob("*-s1"))
    command = [sys.executable, "-m", "npl0", "eval", str(model), "--json"]
    answers = [subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)]
    for process in processes[:2]:
        finished(process)
    assert answers[0] == answers[1] and json.loads(answers[0])["accuracy"] > 0.5
    assert digest(folder) == right != digest(folder, 1)
    return "the same run twice, another seed, an evaluation"


def eight_threads(folder: Path, right: str) -> str:
    """Predict with one network from eight threads at once."""
    network, images = npl0.build_model("lenet5"), npl0.load_dataset("mnist").test_images[:500]
    alone = network.predict(images)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: network.predict(images), range(24)))
    assert all(np.array_equal(answer, alone) for answer in answers)
    return "24 predictions by 8 threads"


def started(method: str) -> Callable[[Path, str], str]:
    """Return a case that trains in two worker processes at once, started by `fork` or `spawn`."""

    def case(folder: Path, right: str) -> str:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            found = list(pool.map(run_here, [str(folder / str(i)) for i in range(2)]))
        assert found == [right, right]
        return f"two workers of a pool by {method}"

    return case


def surroundings(what: str, name: str, **environment: str | None) -> Callable[[Path, str], str]:
    """Return a case that trains in a folder of this name and in this environment."""

    def case(folder: Path, right: str) -> str:
        finished(call(folder / name, **environment))
        assert digest(folder / name) == right
        return what

    return case


class Meter(Observer):
    """Notes memory and open files after every epoch."""

    def __init__(self) -> None:
        self.memory, self.files = [], []

    def after_epoch(self, progress, row) -> None:
        self.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        self.files.append(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)


def many_epochs(epochs: int) -> str:
    """Train a tiny network for many epochs; return how much memory and how many file handles it gained."""
    images = np.random.default_rng(0).random((64, 20), np.float32)
    network = npl0.Network([npl0.Linear(20, 10), npl0.ReLU(), npl0.Linear(10, 4)], (20,))
    pruner, meter = npl0.L0(network), Meter()
    stage = Stage("train", npl0.Recipe(epochs=epochs, batch_size=32))
    optimizer = stage.begin(pruner, len(images))
    with npl0.Workers(2) as workers:
        train_stage(stage, network, pruner, optimizer, images, np.arange(64) % 4, workers, None, meter)
    early = epochs // 10
    gained, files = meter.memory[-1] - meter.memory[early], meter.files[-1] - meter.files[early]
    assert gained < 2 and files == 0, (gained, files)
    return f"{epochs:,} epochs: {gained:.1f} MB and {files} file handles gained after the first {early}"


def main() -> int:
    """Try every case, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=1000, metavar="N", help="epochs of the last case (default 1000)")
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name contains this")
    options = parser.parse_args()
    cases = {
        "runs side by side": two_runs_and_an_evaluation,
        "threads": eight_threads,
        "fork": started("fork"),
        "spawn": started("spawn"),
        "path": surroundings("a path with spaces and foreign letters", "näïve – 数据 dir"),
        "locale": surroundings(
            "a locale that is not UTF-8", "ascii", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
        ),
        "no home": surroundings("no HOME", "homeless", HOME=None),
    }
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        finished(call(folder / "alone"))
        right = digest(folder / "alone")
        for name, case in cases.items():
            if options.only in name:
                (folder / name).mkdir()
                try:
                    print(f"same bits: {case(folder / name, right)}", flush=True)
                except Exception as error:
                    failed += 1
                    print(f"FAILED: {name}: {type(error).__name__}: {error}", flush=True)
        print(many_epochs(options.epochs))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
