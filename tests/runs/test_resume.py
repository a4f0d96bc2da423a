"""Runs that were stopped, interrupted or killed end in the same bits as those that were not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npl0.cli import run as run_module
from npl0.runs.progress import ProgressBar
from npl0.settings.sections import build_config
from npl0.storage.files import locked
from npl0.training.loop import StopTraining

ROOT = Path(__file__).parent.parent.parent

# 2000 images in batches of 128 are 16 steps an epoch: stops in mid-epoch, at the end of epochs and of stages.
STOPS = {"first step": 1, "mid-epoch": 5, "end of an epoch": 16, "end of training": 32, "retraining": 40, "end": 48}


@pytest.mark.parametrize("method", ["l0", "magnitude"])
def test_a_run_stopped_anywhere_resumes_to_the_same_bits(run, tmp_path, monkeypatch, method, runs):
    flags = (*runs.FLAGS_OF[method], "--retrain-weight-decay", "1e-4", "--quiet")
    assert run(*flags, out=tmp_path / "whole")[0] == 0
    taken = 0

    def after_step(self, progress, loss):
        nonlocal taken
        taken += 1
        if taken in STOPS.values():
            raise StopTraining

    monkeypatch.setattr(ProgressBar, "after_step", after_step)
    for _ in STOPS:
        code, _, err = run(*flags, out=tmp_path / "stopped")
        assert code == 130 and "interrupted; the same command resumes" in err
        assert (runs.folder_in(tmp_path / "stopped") / "checkpoint.npz").exists()
    assert run(*flags, out=tmp_path / "stopped")[0] == 0
    # Every step was taken once: a run that began anew would pass the comparison as well.
    assert taken == 48
    runs.same(runs.outcome(runs.folder_in(tmp_path / "stopped")), runs.outcome(runs.folder_in(tmp_path / "whole")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, runs):
    """The outcome of the run that the next test kills."""
    parent = tmp_path_factory.mktemp("whole")
    assert run_module.main([*runs.SMALL, *runs.KILLED, "--quiet", "--out", str(parent)]) == 0
    return runs.outcome(runs.folder_in(parent))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_killed_run_resumes_to_the_same_bits(run, tmp_path, whole, number, code, runs):
    process = subprocess.Popen(
        [sys.executable, "-m", "npl0.run", *runs.SMALL, *runs.KILLED, "--out", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = tmp_path / build_config(runs.settings_of(*runs.SMALL, *runs.KILLED)).run_name() / "checkpoint.npz"
    until = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert checkpoint.exists()
    if code == 130:
        assert "interrupted: finishing the step (again to quit at once)" in err and "the same command resumes" in err
    resumed, _, err = run(*runs.KILLED, out=tmp_path)
    assert resumed == 0 and "resuming" in err
    runs.same(runs.outcome(runs.folder_in(tmp_path)), whole)


def test_sigterm_interrupts_too(run, monkeypatch, tmp_path, runs):
    original = ProgressBar.after_step

    def after_step(self, progress, loss):
        signal.raise_signal(signal.SIGTERM)
        original(self, progress, loss)

    monkeypatch.setattr(ProgressBar, "after_step", after_step)
    code, _, err = run(*runs.L0)
    assert code == 130 and "interrupted: finishing the step (again to quit at once)" in err
    assert (runs.folder_in(tmp_path / "runs") / "checkpoint.npz").exists()


def test_a_second_interrupt_quits_at_once(run, monkeypatch, runs):
    last = (0, 1)

    def after_step(self, progress, loss):
        if (progress.epoch, progress.batch) != last:
            return
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ProgressBar, "after_step", after_step)
    code, _, err = run(*runs.L0)
    assert code == 130 and "interrupted; there is no checkpoint yet" in err
    last = (1, 1)
    code, _, err = run(*runs.L0)
    assert code == 130 and "the same command resumes" in err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_waits_for_the_one_that_works_in_its_folder(tmp_path, runs):
    flags = (*runs.SMALL, *runs.L0)
    folder = tmp_path / "runs" / build_config(runs.settings_of(*flags)).run_name()
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "npl0.run", *flags, "--out", str(tmp_path / "runs")]
    with locked(folder / "lock", print):
        waiting = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # On a busy machine, a line on the compilation of the kernels may come first.
        lines = iter(waiting.stderr.readline, "")
        assert f"waiting for process {os.getpid()}, which works in {folder}\n" in lines
        assert [path.name for path in folder.iterdir()] == ["lock"]
    out, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, err
    assert "run folder: " in out and (folder / "result.json").is_file() and not (folder / "lock").exists()


def test_a_forced_run_resumes_without_force(run, monkeypatch, tmp_path, runs):
    def after_step(self, progress, loss):
        raise StopTraining

    monkeypatch.setattr(ProgressBar, "after_step", after_step)
    code, _, err = run(*runs.L0, "--force")
    folder = runs.folder_in(tmp_path / "runs")
    assert code == 130 and f"interrupted; the same command without --force resumes {folder}" in err
