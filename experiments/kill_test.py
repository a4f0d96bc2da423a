"""Kill a run with SIGKILL again and again, resume it, and compare: `python experiments/kill_test.py --kills 200`.

A run is started as a process of its own and killed at a random moment: at any time between its start and its end, or
while it writes a checkpoint or the model. It is then resumed with the same arguments and killed again, until it ends.
Its outcome must be that of a run that was left alone. Exits with code 1 if anything differs or a resumed run fails.
Processes are forked from one that has loaded npl0 already, because loading would take most of the time.

Compared are the bytes of every array and of the headers in model.npz and snapshots.npz (not the time stamps of the
archives), log.csv without its times and memory, layers.csv, and result.json without its seconds.
"""

import argparse
import contextlib
import csv
import io
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from npl0.cli import run as run_command

METHODS = {
    # The synthetic set is small: gates must move fast to close at all.
    "l0": ("--gate-learning-rate=0.4", "--ramp-epochs=0", "--l0-lambda=1"),
    "magnitude": ("--compression=20",),
}
COUNTED = ("kills", "inside checkpoint.npz", "inside model.npz", "resumed starts", "finished runs")
MEASURED = {"seconds", "images_per_second", "peak_memory_mb"}  # these differ between any two runs
LONGEST_WRITE = 0.02  # seconds over which kills spread after a file has begun to be written
TIMEOUT = 600.0  # seconds after which a process is killed in any case


def contents(folder: Path) -> dict[str, bytes]:
    """Return what the settings alone decide about a finished run, by name."""
    found = {}
    for file in ("model.npz", "snapshots.npz"):
        with zipfile.ZipFile(folder / file) as archive:
            found |= {f"{file}: {name}": archive.read(name) for name in archive.namelist()}
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            found |= {f"log.csv: {number}: {key}": text.encode() for key, text in row.items() if key not in MEASURED}
    result = json.loads((folder / "result.json").read_bytes())
    found |= {f"result.json: {key}": json.dumps(value).encode() for key, value in result.items() if key != "seconds"}
    return {**found, "layers.csv": (folder / "layers.csv").read_bytes()}


def difference(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Return the names of what differs between two results of `contents`; the order of the names counts too."""
    names = [name for name in one | other if one.get(name) != other.get(name)]
    return names or ([] if list(one) == list(other) else ["the order of the arrays"])


def only_folder(out: Path) -> Path:
    """Return the one run folder in `out`."""
    (folder,) = out.iterdir()
    return folder


def child(arguments: list[str], log: Path) -> None:
    """Run the command in this process, with its messages in a file, and exit."""
    with open(log, "w", buffering=1) as sys.stderr, contextlib.redirect_stdout(io.StringIO()):
        sys.exit(run_command.main(arguments))


def unfinished(process: multiprocessing.Process, out: Path, name: str) -> bool:
    """Return whether a process, alive or dead, has begun to write the file `name` and not replaced it."""
    return any(out.glob(f"*/.{name}.{process.pid}.part"))


def strike(process: multiprocessing.Process, out: Path, seconds: float, name: str, number: int) -> bool:
    """Kill a process after `seconds`, counted from the `number`-th writing of the file `name` if there is a name.

    Returns whether it was killed; False if it ended before.
    """
    now = time.monotonic()
    due, writing = now + (TIMEOUT if name else seconds), False
    while process.is_alive() and now < due:
        before, writing = writing, unfinished(process, out, name)
        if writing and not before:
            number -= 1
            due = now + seconds if number == 0 else due
        time.sleep(0.0005)
        now = time.monotonic()
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def torment(arguments: list[str], kills: int, expected: dict[str, bytes], whole: float, generator, out: Path) -> str:
    """Kill and resume runs until there were `kills` kills, let the last one end, and return what was done.

    Raises SystemExit with a message if a run differs from `expected` or fails.
    """
    tally, report = dict.fromkeys(COUNTED, 0), ""
    while tally["finished runs"] == 0 or tally["kills"] < kills:
        parent, killed = out / str(tally["finished runs"]), True
        while killed:
            started = ([*arguments, f"--out={parent}"], out.with_suffix(".log"))
            process = multiprocessing.get_context("fork").Process(target=child, args=started)
            process.start()
            if killed := tally["kills"] < kills:
                name = str(generator.choice(["", "checkpoint.npz", "model.npz"], p=[0.45, 0.45, 0.1]))
                seconds = generator.uniform(0, LONGEST_WRITE if name else whole)
                killed = strike(process, parent, seconds, name, 1 if name == "model.npz" else generator.integers(1, 3))
            process.join(TIMEOUT)
            tally["resumed starts"] += "resuming" in (messages := started[1].read_text())
            if killed:
                tally["kills"] += 1
                for name in ("checkpoint.npz", "model.npz"):
                    tally[f"inside {name}"] += unfinished(process, parent, name)
            elif process.exitcode != 0:
                raise SystemExit(f"a resumed run failed with code {process.exitcode}: {messages}{report}")
        folder = only_folder(parent)
        # A file called lock may stay if the kill came behind the result; the lock itself ends with its process.
        left = [path.name for path in folder.iterdir() if path.suffix == ".part" or path.stem == "checkpoint"]
        if wrong := difference(expected, contents(folder)) + left:
            raise SystemExit(f"DIFFERENT, in {folder}: {', '.join(wrong)}; {report}")
        tally["finished runs"] += 1
        report = ", ".join(f"{number} {what}" for what, number in tally.items())
        print(f"  {report}", file=sys.stderr, flush=True)
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run the test and report; the number of kills is shared by the methods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills in all (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default 0)")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--epochs", default=2)
    parser.add_argument("--retrain-epochs", default=1)
    options = parser.parse_args(arguments)
    size = [f"--model={options.model}", f"--epochs={options.epochs}", f"--retrain-epochs={options.retrain_epochs}"]
    for number, method in enumerate(options.method):
        given = ["--data=synthetic", "--shift=1", "--threads=1", *size, f"--method={method}", *METHODS[method]]
        out, began = Path(tempfile.mkdtemp(prefix="npl0-kill-")), time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            assert run_command.main([*given, "--quiet", f"--out={out / 'whole'}"]) == 0
        whole, expected = time.monotonic() - began, contents(only_folder(out / "whole"))
        generator = np.random.default_rng([options.seed, number])
        report = torment(given, options.kills // len(options.method), expected, whole, generator, out / "killed")
        shutil.rmtree(out)
        print(f"{method}: {report}: identical ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
