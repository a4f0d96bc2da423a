"""The training loop: what a stage makes of its recipe."""

from types import SimpleNamespace

import numpy as np
import pytest

import npl0
from npl0.training.loop import Observer, Stage, train_stage
from npl0.training.recipe import Recipe


def stage(**settings):
    """Return a stage of 10 epochs, with a constant schedule unless another is given."""
    return Stage("train", Recipe(**{"epochs": 10, "schedule": "constant", **settings}))


def test_the_warm_up_rises_linearly_to_the_schedule():
    warm = stage(warmup_epochs=2.5)
    assert [warm.step(n, 4).rate_factor for n in range(12)] == [*(i / 10 for i in range(1, 10)), 1, 1, 1]
    assert stage().step(0, 4).rate_factor == 1


def test_a_step_knows_its_number_its_fraction_of_the_stage_and_its_learning_rate():
    step = stage(schedule="linear", learning_rate=0.5).step(10, 4)
    assert (step.number, step.fraction, step.rate_factor, step.learning_rate) == (10, 0.25, 0.75, 0.375)


def test_a_plan_counts_the_last_short_batch_of_an_epoch():
    plan = Stage("train", Recipe(epochs=3, batch_size=32), 7).plan(100)
    assert (plan.seed, plan.n_train, plan.epochs, plan.steps_per_epoch) == (7, 100, 3, 4)


def test_the_warm_up_multiplies_the_schedule():
    warm, cold = stage(schedule="linear", warmup_epochs=1), stage(schedule="linear")
    assert warm.step(1, 4).rate_factor == pytest.approx(cold.step(1, 4).rate_factor / 2)
    assert warm.step(30, 4).rate_factor == cold.step(30, 4).rate_factor == 0.25


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
    short = stage(epochs=3, batch_size=4)
    optimizer = short.begin(pruner, len(images))
    train_stage(short, network, pruner, optimizer, images, labels, workers, None, Slow())
    # Three steps an epoch; what passes after the last one, in the observer, does not count.
    assert [row.seconds for row in rows] == [2, 2, 2]
    assert [row.images_per_second for row in rows] == [6, 6, 6]
