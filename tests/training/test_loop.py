"""The training loop: what a stage makes of its settings."""

from types import SimpleNamespace

import numpy as np
import pytest

import npl0
from npl0.training import optimizers as optim
from npl0.training.loop import Observer, Stage, train_stage


def stage(**settings):
    """Return a stage of 10 epochs."""
    return Stage("train", 10, 32, settings.pop("schedule", "constant"), 0, **settings)


def test_the_warm_up_rises_in_a_straight_line_and_then_leaves_the_schedule_alone():
    warm = stage(warmup_epochs=2.5)
    assert [warm.factor(step, 4) for step in range(12)] == [*(i / 10 for i in range(1, 10)), 1, 1, 1]
    assert stage().factor(0, 4) == 1


def test_the_warm_up_multiplies_the_schedule():
    warm, cold = stage(schedule="linear", warmup_epochs=1), stage(schedule="linear")
    assert warm.factor(1, 4) == pytest.approx(cold.factor(1, 4) / 2)
    assert warm.factor(30, 4) == cold.factor(30, 4) == 0.25


@pytest.mark.parametrize("change", [{"flip": 0.5}, {"shift": 2}, {"warmup_epochs": 1}])
def test_each_setting_reaches_the_training(change):
    data = npl0.load_dataset("synthetic")
    images, labels = data.train_images[:256], data.train_labels[:256]

    def loss(**settings):
        network = npl0.build_model("lenet300", mean=data.mean, std=data.std)
        return npl0.fit(network, images, labels, epochs=1, threads=1, quiet=True, **settings)[0].loss

    assert loss(**change) == loss(**change) != loss()


def test_the_seconds_of_an_epoch_are_those_of_its_steps(workers, monkeypatch):
    clock, rows = SimpleNamespace(now=0.0), []

    class Slow(Observer):
        def after_step(self, progress, loss):
            clock.now += 1

        def after_epoch(self, progress, row):
            clock.now += 1000
            rows.append(row)

    monkeypatch.setattr("npl0.training.loop.time", SimpleNamespace(perf_counter=lambda: clock.now))
    network = npl0.Network([npl0.Linear(4, 2)], input_shape=(4,))
    pruner = npl0.Pruner(network)
    images, labels = np.ones((12, 4), np.float32), np.zeros(12, np.int64)
    optimizer = optim.Adam(pruner.groups(1e-3, 0.0))
    train_stage(Stage("train", 3, 4, "constant", 0), network, pruner, optimizer, images, labels, workers, None, Slow())
    # Three steps an epoch; the second that passes behind the last one is not its own.
    assert [row.seconds for row in rows] == [2, 2, 2]
    assert [row.images_per_second for row in rows] == [6, 6, 6]
