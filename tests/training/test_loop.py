"""The training loop: what a stage makes of its recipe."""

from types import SimpleNamespace

import numpy as np
import pytest

import npl0
from npl0.nn.network import Network
from npl0.ops import hard_concrete
from npl0.training import loop
from npl0.training.loop import Observer, Stage, train_stage
from npl0.training.metrics import first_not_finite
from npl0.training.optimizers import Adam
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
    class Planned(npl0.Pruner):
        def begin(self, plan):
            self.plan = plan

    pruner = Planned(npl0.build_model("mlp:2"))
    Stage("train", Recipe(epochs=3, batch_size=32), 7).begin(pruner, 100)
    plan = pruner.plan
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


class Rows(Observer):
    """Keeps the rows of the log."""

    def __init__(self):
        self.rows = []

    def after_epoch(self, progress, row):
        self.rows.append(row)


def train(the_stage, network, pruner, images, labels, workers, validation=None):
    """Train through a stage, and return its rows."""
    observer = Rows()
    optimizer = the_stage.begin(pruner, len(images))
    train_stage(the_stage, network, pruner, optimizer, images, labels, workers, None, observer, validation)
    return observer.rows


@pytest.fixture
def problem(generator):
    """Make ten numbers an image, in three classes, and a network for them."""
    network = npl0.Network([npl0.Linear(10, 8), npl0.ReLU(), npl0.Linear(8, 3)], (10,))
    return network, generator.standard_normal((10, 10)).astype(np.float32), generator.integers(0, 3, 10)


def test_loss_and_accuracy_of_an_epoch_are_means_over_images_whatever_the_last_batch(problem, workers):
    network, images, labels = problem
    logits = network.predict(images, workers).astype(float)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(10), labels]
    # The rate is too small to change a float32 weight; the batches have 4, 4 and 2 images.
    still = stage(epochs=2, batch_size=4, learning_rate=1e-30)
    for row in train(still, network, npl0.Pruner(network), images, labels, workers):
        assert row.loss == pytest.approx(losses.mean(), rel=1e-5)
        assert row.train_accuracy == (logits.argmax(axis=1) == labels).mean()


def test_an_epoch_takes_every_image_once_in_an_order_of_its_own(problem, workers, monkeypatch):
    network, images, labels = problem
    seen, original = [], Network.loss_and_gradients
    monkeypatch.setattr(Network, "loss_and_gradients", lambda *a: seen.append((a[1], a[2])) or original(*a))
    train(stage(epochs=2, batch_size=4), network, npl0.Pruner(network), images, labels, workers)
    assert [len(batch) for batch, _ in seen] == [4, 4, 2] * 2
    epochs = [[np.concatenate(arrays) for arrays in zip(*seen[part], strict=True)] for part in np.s_[:3, 3:]]
    positions = [[images.tolist().index(image.tolist()) for image in taken] for taken, _ in epochs]
    assert sorted(positions[0]) == sorted(positions[1]) == list(range(10))
    assert positions[0] != positions[1] != list(range(10)) != positions[0]
    for (_, their_labels), order in zip(epochs, positions, strict=True):
        np.testing.assert_array_equal(their_labels, labels[order])


@pytest.mark.parametrize("change", [{"shift": 3}, {"flip": 0.5}])
def test_every_step_has_an_augmentation_of_its_own(generator, workers, monkeypatch, change):
    # All images are one, so that batches differ by their augmentation only.
    images = generator.integers(1, 256, (1, 1, 6, 6)).astype(np.uint8).repeat(32, axis=0)
    batches, original = [], Network.loss_and_gradients
    monkeypatch.setattr(Network, "loss_and_gradients", lambda *a: batches.append(a[1].tobytes()) or original(*a))
    for _ in range(2):
        network = npl0.Network([npl0.Flatten(), npl0.Linear(36, 2)], (1, 6, 6))
        short = stage(epochs=2, batch_size=16, **change)
        train(short, network, npl0.Pruner(network), images, np.zeros(32, int), workers)
    assert len(set(batches[:4])) == 4 and batches[:4] == batches[4:]


def test_an_epoch_is_evaluated_with_the_gates_of_test_time(problem, workers, monkeypatch):
    network, images, labels = problem
    pruner, evaluated = npl0.L0(network, log_alpha_init=0, gate_learning_rate=0.1), []

    def count_correct(its_network, its_images, its_labels, its_workers):
        assert its_network is network and its_images is validation[0] and its_labels is validation[1]
        evaluated.append([weight.value.copy() for weight in network.weights])
        return 5

    monkeypatch.setattr(loop, "count_correct", count_correct)
    validation = images[:7], labels[:7]
    (row,) = train(stage(epochs=1), network, pruner, images, labels, workers, validation)
    gates = [hard_concrete.deterministic_gate(gate.value) for gate in pruner.log_alphas]
    for value, theta, gate in zip(evaluated[0], pruner.theta, gates, strict=True):
        np.testing.assert_array_equal(value, theta.value * gate)
        assert 0.1 < gate.mean() < 0.9
    assert row.validation_accuracy == 5 / 7


def test_pruner_and_optimiser_see_every_step_of_the_stage_advance(problem, workers, monkeypatch):
    network, images, labels = problem
    steps, rates = [], []

    class Watched(npl0.L0):
        def write_weights(self, step):
            super().write_weights(step)
            steps.append([step])

        def read_gradients(self, step):
            steps[-1].append(step)
            return super().read_gradients(step)

        def after_step(self, step):
            steps[-1].append(step)
            super().after_step(step)

    original = Adam.update

    def update(self, value, grad, m, v, rate, *rest):
        rates.append(rate)
        original(self, value, grad, m, v, rate, *rest)

    monkeypatch.setattr(Adam, "update", update)
    pruner = Watched(network, gate_learning_rate=0.5, gate_schedule="linear")
    train(stage(epochs=2, batch_size=4, learning_rate=1e-3), network, pruner, images, labels, workers)
    for number, seen in enumerate(steps):
        assert len(set(seen)) == 1 and (seen[0].number, seen[0].fraction) == (number, number / 6)
    # The rate of the gates, two arrays, falls in a straight line over the stage, while that of the weights is constant.
    gates = [rate for rate in rates if rate != 1e-3]
    assert gates == pytest.approx([0.5 * (1 - number / 6) for number in range(6) for _ in range(2)])


def test_a_row_has_the_rate_factor_of_the_last_step_of_its_epoch():
    images, labels = np.ones((8, 3), np.float32), np.arange(8) % 2
    network = npl0.Network([npl0.Linear(3, 2)], (3,))
    rows = npl0.fit(network, images, labels, epochs=2, batch_size=2, schedule="linear", threads=1, quiet=True)
    assert [row.learning_rate_factor for row in rows] == [1 - 3 / 8, 1 - 7 / 8]


def test_the_first_tensor_that_is_not_finite_is_named_if_one_value_of_it_is_not():
    network = npl0.Network([npl0.Linear(3, 4), npl0.ReLU(), npl0.Linear(4, 2)], (3,))
    images = np.full((5, 3), 2, np.float32)
    assert first_not_finite(network, images).startswith("none of weights, outputs and gradients")
    network.weights[1].grad[1, 2] = np.inf
    assert first_not_finite(network, images) == "the gradient of fc2.weight"
    network.weights[0].value[1] = 3e38
    with np.errstate(over="ignore"):
        assert first_not_finite(network, images) == "the output of fc1"
    network.weights[1].value[0, 3] = np.nan
    assert first_not_finite(network, images) == "the parameter fc2.weight"
