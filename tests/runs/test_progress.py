"""What is reported of every epoch, on stderr and in the log."""

import csv
import re
import sys

import pytest

from npl0.runs.progress import ProgressBar, describe_epoch
from npl0.training.loop import EpochRow, Progress, Stage
from npl0.training.recipe import Recipe

ROW = EpochRow("train", 3, 0.51234, 0.1, 0.8209, None, 900.0, 812, 12.345, 800, 12.5, 1.0, 6123.4, 8.2, None)


@pytest.mark.parametrize(
    ("seconds", "left"), [(0, ""), (50, ", 00:50 to the end of the run"), (9000, ", 2:30:00 to the end of the run")]
)
def test_an_epoch_is_described_in_one_line(seconds, left):
    line = f"train epoch 3/8: loss 0.512, accuracy 82.1 %, 12.3x, 6,123 images/s{left}"
    assert describe_epoch(ROW, 8, seconds) == line


def test_the_time_left_counts_the_epochs_of_retraining(capsys):
    bar = ProgressBar(retrain_epochs=3)
    bar.begin(Stage("train", Recipe(epochs=8)), None, 10, Progress())
    bar.after_epoch(Progress(epoch=3, seconds=30), ROW)
    bar.close()
    assert "01:20 to the end of the run" in capsys.readouterr().err


def test_every_epoch_is_reported_on_stderr(run):
    code, _, err = run("--json", "--validation", "500", "--method", "magnitude", "--compression", "3")
    # A bar may stand before a line; the carriage return overwrites it.
    lines = re.findall(r"(?:^|\r)((?:re)?train epoch .*)$", err, re.MULTILINE)
    shape = r"train epoch [12]/2: loss \d\.\d{3}, accuracy \d+\.\d %, validation \d+\.\d\d %, 1\.0x, [\d,]+ images/s"
    assert code == 0 and len(lines) == 3
    assert all(re.fullmatch(rf"{shape}, \d\d:\d\d to the end of the run", line) for line in lines[:2])
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
    monkeypatch.setitem(sys.modules, "resource", None)
    assert set(column("--force")) == {""}
