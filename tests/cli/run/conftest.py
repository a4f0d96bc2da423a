"""What the tests of the command share: small runs, and what is compared of them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npl0.cli import run as run_module


class Runs:
    """Small runs, and what of them must not depend on threads, interrupts or the hour."""

    SMALL = ("--model", "lenet300", "--data", "synthetic", "--epochs", "2", "--retrain-epochs", "1", "--threads", "1")
    # 16 steps an epoch: gates must move fast to close within two of them.
    L0 = ("--method", "l0", "--gate-learning-rate", "0.4", "--ramp-epochs", "0", "--l0-lambda", "1")
    FLAGS_OF = {  # noqa: RUF012
        "l0": L0,
        "magnitude": ("--method", "magnitude", "--compression", "3"),
        "dense": ("--method", "dense"),
    }
    # Long enough to be killed after the checkpoint of its first epoch.
    KILLED = (*L0, "--epochs", "8", "--batch-size", "32")
    # Seconds and megabytes differ from run to run; nothing else may.
    TIMES = ("images_per_second", "seconds", "peak_memory_mb")

    @staticmethod
    def folder_in(parent: Path) -> Path:
        """Return the one run folder there is."""
        (folder,) = parent.iterdir()
        return folder

    @staticmethod
    def settings_of(*flags: str) -> dict[str, Any]:
        """Return the settings that flags make."""
        return run_module.settings_from(run_module.build_parser().parse_args(flags))

    @staticmethod
    def outcome(folder: Path) -> tuple[dict[str, bytes], dict[str, Any], list[dict[str, str]], bytes]:
        """Return arrays, result, log and layers of a finished run, without the times."""
        with np.load(folder / "model.npz") as archive:
            arrays = {name: archive[name].tobytes() for name in archive.files}
        result = json.loads((folder / "result.json").read_text())
        del result["seconds"]
        with open(folder / "log.csv", newline="") as file:
            log = [{key: value for key, value in row.items() if key not in Runs.TIMES} for row in csv.DictReader(file)]
        return arrays, result, log, (folder / "layers.csv").read_bytes()

    @staticmethod
    def same(one: tuple, other: tuple) -> None:
        """Assert that two outcomes are equal, without printing megabytes if they are not."""
        assert one[0].keys() == other[0].keys()
        assert [name for name in one[0] if one[0][name] != other[0][name]] == []
        assert one[1:] == other[1:]


@pytest.fixture(scope="session")
def runs() -> type[Runs]:
    """The class above: test modules cannot import one another."""
    return Runs


@pytest.fixture
def command(tmp_path, capfd):
    """Run the command in this process, under `tmp_path`; return its exit code, stdout and stderr."""

    def call(*flags, out=tmp_path / "runs"):
        capfd.readouterr()
        try:
            code = run_module.main([*Runs.SMALL, "--out", str(out), *flags])
        except SystemExit as exit_of:
            code = exit_of.code
        return code, *capfd.readouterr()

    return call
