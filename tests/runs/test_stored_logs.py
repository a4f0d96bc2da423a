"""Today's code repeats the first epoch of stored runs: to the last bit on the same kind of machine."""

import csv
import json
from pathlib import Path

import pytest

from npl0.data import load_dataset
from npl0.runs.environment import describe_environment
from npl0.runs.folder import RunFolder
from npl0.runs.pipeline import Run
from npl0.runtime.threads import Workers, available_threads
from npl0.settings.sections import build_config
from npl0.settings.toml import read_toml
from npl0.training.loop import Observer, StopTraining

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "main"
# What depends on the clock and on the memory of the process.
NOT_COMPARED = {"images_per_second", "seconds", "peak_memory_mb"}


class StopAfterAnEpoch(Observer):
    """Leaves the training after its first epoch."""

    def after_epoch(self, progress, row):
        raise StopTraining


def first_row(folder):
    """Return the first row of a log."""
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file))


@pytest.mark.parametrize("name", ["lenet300-mnist-l0-6f5e4da6-s0", "lenet5-mnist-l0-750ccc39-s0"])
def test_the_first_epoch_is_the_stored_one(name, tmp_path):
    config = build_config(read_toml(RESULTS / name / "config.toml"))
    dataset, folder = load_dataset(config.data), RunFolder(tmp_path, config)
    with Workers(available_threads()) as workers, folder.opened():
        here = describe_environment(workers.threads, dataset)
        with pytest.raises(StopTraining):
            Run(config, dataset, folder, workers, StopAfterAnEpoch()).execute()
    there = json.loads((RESULTS / name / "environment.json").read_text(encoding="utf-8"))
    stored, made = first_row(RESULTS / name), first_row(folder.path)
    same_machine = here["cpu"] == there["cpu"] and here["blas"] == sorted(there["blas"], key=str)
    for column in stored.keys() - NOT_COMPARED:
        if same_machine or stored[column] in ("", "train"):
            assert made[column] == stored[column], column
        else:
            assert float(made[column]) == pytest.approx(float(stored[column]), rel=1e-3), column
    assert len(stored.keys() - NOT_COMPARED) >= 9
