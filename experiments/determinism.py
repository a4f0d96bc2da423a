"""Check that the same settings give the same bits, however a run is started: `python experiments/determinism.py`.

Small runs of every method, with and without batch norm, are repeated on other numbers of threads, stopped and resumed,
and started in threads, in worker processes, in other environments and side by side, in a folder whose name holds spaces
and letters beyond ASCII. Outcomes are compared as in `kill_test.py`. Exits with code 1 if one differs or a run fails.
"""

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from kill_test import contents, difference
from npl0.cli import run as run_command
from npl0.pruning.methods import METHODS
from npl0.runs import ProgressBar
from npl0.training import StopTraining

# Both algorithms of convolution and the draws of dropout.
LAYERS = """layers = [{layer = "Standardise"}, {layer = "Conv2d", out_channels = 8, kernel_size = 5, stride = 3}, NORM
{layer = "ReLU"}, {layer = "Conv2d", out_channels = 8, kernel_size = 3, padding = 1}, NORM {layer = "Flatten"},
{layer = "Linear", out_features = 40}, NORM {layer = "Dropout", rate = 0.2}, {layer = "Linear", out_features = 10}]"""
NORMS = {"plain": "", "normed": '{layer = "BatchNorm"},'}
FLAGS = {"l0": ["--gate-learning-rate=1", "--ramp-epochs=0", "--l0-lambda=120"], "magnitude": ["--compression=4"]}
SMALL = ["--data=synthetic", "--epochs=2", "--retrain-epochs=1", "--batch-size=700", "--shift=1", "--quiet"]
STOPS = (1, 3, 5, 6, 8, 9)  # an epoch has three steps, so this is in mid-epoch and at the ends of epochs and stages
NO_HOME = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR"))
ENVIRONMENTS = {"LC_ALL=C": {"LC_ALL": "C"}, "no HOME": NO_HOME, "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0"}}


def folder_of(given: list[str]) -> Path:
    """Return the folder of the run with these arguments."""
    parsed = run_command.build_parser().parse_args(given)
    return Path(parsed.out) / run_command.resolve(run_command.settings_from(parsed)).run_name()


def run(given: list[str], stops: tuple[int, ...] = ()) -> dict[str, bytes]:
    """Run the command in this process, stop it after these steps, resume it each time, and return the outcome."""
    steps = itertools.count(1)

    def after_step(*_: object) -> None:
        if next(steps) in stops:
            raise StopTraining

    with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(ProgressBar, "after_step", after_step):
        codes = [run_command.main(given) for _ in range(len(stops) + 1)]
    # A run that began anew after a stop would take more than its six or nine steps.
    assert codes == [130] * len(stops) + [0] and next(steps) in (7, 10), codes
    return contents(folder_of(given))


def commands(*runs: list[str], **changes: str | None) -> list[str]:
    """Run commands of npl0 as processes, all at once, and return what they print; None deletes a variable."""
    kept = {name: value for name, value in {**os.environ, **changes}.items() if value is not None}
    start = [sys.executable, "-m", "npl0"]
    processes = [subprocess.Popen([*start, *given], env=kept, stdout=subprocess.PIPE, text=True) for given in runs]
    printed = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes), printed
    return printed


def cases(base: Path, norm: str, method: str, short: bool) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the name and the outcome of each case; the first one is the reference."""

    def given(out: str, threads: int = 1) -> list[str]:
        where = [f"--model={base}/{norm}.toml", f"--out={base}/{norm} {method} {out}", f"--threads={threads}"]
        return [*SMALL, f"--method={method}", *FLAGS.get(method, []), *where]

    for threads in (1, 3) if short else (1, 1, 2, 3, 4, 8):
        yield f"threads: {threads}", run([*given("threads", threads), "--force"])
    yield "stopped and resumed", run(given("stops", 2), STOPS if METHODS[method].prunes else STOPS[:4])
    both = [given("one thread", 2), given("other thread", 1)]
    with contextlib.redirect_stdout(io.StringIO()), ThreadPoolExecutor() as pool:
        assert not any(pool.map(run_command.main, both))
    yield from (("one of two threads of Python", contents(folder_of(one))) for one in both)
    for start in ("fork",) if short else multiprocessing.get_all_start_methods():
        with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
            yield f"worker ({start})", pool.submit(run, given(start, 2)).result()
    for name, variables in () if short else ENVIRONMENTS.items():
        commands(["run", *given(name)], **variables)
        yield name, contents(folder_of(given(name)))
    # In one folder of runs: two processes for one run, of which one waits for the other, and an evaluation.
    other, load = [*given("load"), "--seed=1"], given("load", 2)
    expected = json.loads(run(other)["result.json: accuracy"])["retrained"]
    *_, printed = commands(["run", *load], ["run", *load], ["eval", str(folder_of(other)), "--json"])
    assert json.loads(printed)["accuracy"] == expected, printed
    yield "two runs and an eval at once", contents(folder_of(load))


def main(arguments: list[str] | None = None) -> int:
    """Run all cases and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="L0 gates with batch norm, and fewer cases")
    short, done, wrong = parser.parse_args(arguments).short, 0, 0
    with tempfile.TemporaryDirectory(prefix="npl0 прогон é ") as folder:
        for norm, layer in NORMS.items():
            Path(folder, f"{norm}.toml").write_text(LAYERS.replace("NORM", layer), encoding="utf-8")
        for norm, method in [("normed", "l0")] if short else itertools.product(NORMS, METHODS):
            reference = None
            for name, outcome in cases(Path(folder), norm, method, short):
                reference = reference or outcome
                different = ", ".join(difference(reference, outcome))
                print(f"{norm}, {method}, {name}: {different or 'identical'}", flush=True)
                done, wrong = done + 1, wrong + bool(different)
    print(f"{done} outcomes, {wrong} of them different")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
