"""What is reported of every epoch, on stderr and in the log."""

import csv
import re

import pytest

from npl0.cli.progress import describe_epoch
from npl0.runtime import memory
from npl0.settings.sections import build_config
from npl0.training.loop import EpochRow

ROW = EpochRow("train", 3, 0.51234, 0.1, 0.8209, None, 900.0, 812, 12.345, 1.0, 6123.4, 8.2, None)


@pytest.mark.parametrize(
    ("settings", "seconds", "left"),
    [
        ({}, 60, "8.0 min"),
        ({}, 3600, "8.0 h"),
        ({}, 4500, "10 h"),
        ({}, 80, "11 min"),
        ({}, 1, "8 s"),
        ({"method": "dense"}, 1, "5 s"),
        ({"retrain": {"epochs": 0}}, 10, "50 s"),
    ],
)
def test_the_time_left_counts_the_epochs_of_all_stages(settings, seconds, left):
    config = build_config({"train": {"epochs": 8}, **settings})
    assert describe_epoch(ROW, config, seconds) == (
        f"train epoch 3/8: loss 0.512, accuracy 82.1 %, 12.3x, 6,123 images/s, about {left} to the end of the run"
    )


def test_every_epoch_is_reported_on_stderr(run):
    code, _, err = run("--json", "--validation", "500", "--method", "magnitude", "--compression", "3")
    # A bar may stand before a line; the carriage return overwrites it.
    lines = re.findall(r"(?:^|\r)((?:re)?train epoch .*)$", err, re.MULTILINE)
    shape = r"train epoch [12]/2: loss \d\.\d{3}, accuracy \d+\.\d %, validation \d+\.\d\d %, 1\.0x, [\d,]+ images/s"
    assert code == 0 and len(lines) == 3
    assert all(re.fullmatch(rf"{shape}, about \d+ s to the end of the run", line) for line in lines[:2])
    assert re.fullmatch(r"retrain epoch 1/1: .*, 3\.0x, [\d,]+ images/s", lines[2])
    assert "train epoch" not in run("--quiet")[2]


def test_the_log_holds_the_peak_memory(run, tmp_path, runs, monkeypatch):
    def column(*flags):
        assert run("--quiet", *flags)[0] == 0
        with open(runs.folder_in(tmp_path / "runs") / "log.csv", newline="") as file:
            return [row["peak_memory_mb"] for row in csv.DictReader(file)]

    # A process with NumPy and Numba takes more than 50 MB, and peaks do not fall.
    peaks = [float(value) for value in column()]
    assert 50 < peaks[0] <= peaks[-1] < 5000
    monkeypatch.setattr(memory, "resource", None)
    assert set(column("--force")) == {""}
