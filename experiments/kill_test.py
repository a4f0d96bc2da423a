"""Kill a run with SIGKILL again and again, resume it, and compare: `python experiments/kill_test.py --kills 200`.

A run is started as a process of its own and killed at a random moment: at any time between its start and its end, or
while it writes a checkpoint or the model. It is then resumed with the same command and killed again, until it ends.
Its outcome must be that of a run that was left alone. Exits with code 1 if anything differs or a resumed run fails.

Compared are the bytes of every array and of the header in model.npz (not the time stamps of the archive), log.csv
without its times and memory, layers.csv, and result.json without its seconds.
"""

import argparse
import csv
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

METHODS = {
    # The synthetic set is small: gates must move fast to close at all.
    "l0": ("--gate-learning-rate=0.4", "--ramp-epochs=0", "--l0-lambda=1"),
    "magnitude": ("--compression=20",),
}
MEASURED = {"seconds", "images_per_second", "peak_memory_mb"}  # these differ between any two runs
LONGEST_WRITE = 0.02  # seconds over which kills spread after a file has begun to be written
TIMEOUT = 600.0  # seconds after which a process counts as hanging


@dataclasses.dataclass
class Tally:
    """What was done to the runs of a method."""

    kills: int = 0
    in_checkpoint: int = 0
    in_model: int = 0
    before_checkpoint: int = 0
    resumed: int = 0
    runs: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.in_checkpoint} inside a checkpoint, {self.in_model} inside model.npz, "
            f"{self.before_checkpoint} before there was a checkpoint), {self.resumed} resumed starts, {self.runs} runs"
        )


def contents(folder: Path) -> dict[str, bytes]:
    """Return what the settings alone decide about a finished run, by name."""
    with zipfile.ZipFile(folder / "model.npz") as archive:
        found = {f"model.npz: {name}": archive.read(name) for name in archive.namelist()}
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


def unfinished(process: subprocess.Popen, out: Path, name: str) -> bool:
    """Return whether a process, alive or dead, has begun to write the file `name` and not replaced it."""
    return any(out.glob(f"*/.{name}.{process.pid}.part"))


def strike(process: subprocess.Popen, out: Path, seconds: float, name: str, number: int) -> bool:
    """Kill a process after `seconds`, counted from the `number`-th writing of the file `name` if there is a name.

    Returns whether it was killed; False if it ended before. SystemExit if it does neither.
    """
    now = began = time.monotonic()
    due, writing = began + (2 * TIMEOUT if name else seconds), False
    while process.poll() is None and now < due:
        before, writing = writing, unfinished(process, out, name)
        if writing and not before:
            number -= 1
            due = now + seconds if number == 0 else due
        time.sleep(0.0005)
        now = time.monotonic()
        if now > began + TIMEOUT:
            process.kill()
            raise SystemExit(f"the run in {out} hangs")
    process.kill()
    return process.wait() == -signal.SIGKILL


def torment(command: list[str], kills: int, expected: dict[str, bytes], whole: float, generator, out: Path) -> Tally:
    """Kill and resume runs until there were `kills` kills, and let the last one end.

    Raises SystemExit with a message if a run differs from `expected` or fails.
    """
    tally = Tally()
    while tally.runs == 0 or tally.kills < kills:
        parent, killed = out / str(tally.runs), True
        while killed:
            process = subprocess.Popen([*command, "--out", parent], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if killed := tally.kills < kills:
                name = str(generator.choice(["", "checkpoint.npz", "model.npz"], p=[0.45, 0.45, 0.1]))
                seconds = generator.uniform(0, LONGEST_WRITE if name else whole)
                killed = strike(process, parent, seconds, name, 1 if name == "model.npz" else generator.integers(1, 3))
            error = process.communicate(timeout=TIMEOUT)[1].decode()
            tally.resumed += "resuming" in error
            if killed:
                tally.kills += 1
                tally.in_checkpoint += unfinished(process, parent, "checkpoint.npz")
                tally.in_model += unfinished(process, parent, "model.npz")
                tally.before_checkpoint += not any(parent.glob("*/checkpoint.npz"))
            elif process.returncode:
                raise SystemExit(f"a resumed run failed with code {process.returncode}: {error}\n{tally}")
        folder = only_folder(parent)
        left = [path.name for path in folder.iterdir() if path.suffix == ".part" or path.stem in ("lock", "checkpoint")]
        if wrong := difference(expected, contents(folder)) + left:
            raise SystemExit(f"DIFFERENT, in {folder}: {', '.join(wrong)}\n{tally}")
        tally.runs += 1
        print(f"  {tally}", file=sys.stderr, flush=True)
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Run the test and report; the number of kills is shared by the methods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills in all (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default 0)")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    for name, default in {"model": "lenet5", "epochs": 2, "retrain-epochs": 1, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options = parser.parse_args(arguments)
    size = [f"--model={options.model}", f"--epochs={options.epochs}", f"--retrain-epochs={options.retrain_epochs}"]
    run = [sys.executable, "-m", "npl0", "run", "--data=synthetic", *size, "--shift=1", f"--threads={options.threads}"]
    for number, method in enumerate(options.method):
        command = [*run, f"--method={method}", *METHODS[method]]
        out, began = Path(tempfile.mkdtemp(prefix="npl0-kill-")), time.monotonic()
        subprocess.run([*command, "--quiet", "--out", out / "whole"], check=True, stdout=subprocess.DEVNULL)
        whole, expected = time.monotonic() - began, contents(only_folder(out / "whole"))
        generator = np.random.default_rng([options.seed, number])
        tally = torment(command, options.kills // len(options.method), expected, whole, generator, out / "killed")
        shutil.rmtree(out)
        print(f"{method}: {tally}: identical ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
