"""The pruner protocol carries methods of other kinds, through `fit` and the command, without a change of either.

A proximal method follows the learning rate, a gradual one the fraction of the stage, and a noisy one has parameters and
draws of its own.
"""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npl0

ROOT = Path(__file__).parents[2]

TOY_METHODS = '''
"""Three small methods, and their settings."""

from dataclasses import dataclass

import numpy as np

from npl0.nn.parameter import Parameter, ParameterGroup
from npl0.pruning.base import Pruner
from npl0.runtime import rng
from npl0.declare import Settings, setting


@dataclass(frozen=True)
class ProximalSettings(Settings):
    strength: float = setting(0.5, "L1 strength", 0, 100)


class Proximal(Pruner):
    """L1 regularisation: a soft threshold after every step, by the learning rate of the step."""

    name = "proximal"

    def __init__(self, network, **settings):
        super().__init__(network)
        self.settings = ProximalSettings(**settings)
        self.rates = []

    def after_step(self, step):
        self.rates.append(step.learning_rate)
        threshold = step.learning_rate * self.settings.strength

        def shrink(weight):
            w = weight.value
            w[...] = np.sign(w) * np.maximum(np.abs(w) - threshold, 0)

        self.map(shrink, self.network.weights)

    def masks(self):
        return {weight.name: weight.value != 0 for weight in self.network.weights}


@dataclass(frozen=True)
class GradualSettings(Settings):
    sparsity: float = setting(0.8, "sparsity at the end", 0, 1)


class Gradual(Pruner):
    """Gradual magnitude pruning: the sparsity rises along a cubic over the first three quarters of the stage."""

    name = "gradual"

    def __init__(self, network, **settings):
        super().__init__(network)
        self.settings = GradualSettings(**settings)
        self._masks = super().masks()

    def sparsity(self, fraction):
        return self.settings.sparsity * (1 - (1 - min(1, fraction / 0.75)) ** 3)

    def write_weights(self, step):
        for weight in self.network.weights:
            pruned = round(self.sparsity(step.fraction) * weight.size)
            order = np.abs(weight.value).reshape(-1).argsort(kind="stable")
            self._masks[weight.name].reshape(-1)[...] = True
            self._masks[weight.name].reshape(-1)[order[:pruned]] = False
        self.apply()

    def apply(self):
        for weight in self.network.weights:
            weight.value *= self._masks[weight.name]

    def read_gradients(self, step):
        for weight in self.network.weights:
            weight.grad *= self._masks[weight.name]
        return 0.0

    def after_step(self, step):
        self.apply()

    def masks(self):
        return self._masks

    def state(self):
        return self._masks


@dataclass(frozen=True)
class NoisySettings(Settings):
    penalty: float = setting(0.1, "strength of the penalty on small noise", 0, 100)


class Noisy(Pruner):
    """Gaussian dropout with a learnt deviation per output unit: w = theta (1 + exp(log_std) epsilon)."""

    name = "noisy"

    def __init__(self, network, **settings):
        super().__init__(network)
        self.settings = NoisySettings(**settings)
        self.theta, self.log_std = [], []

    def begin(self, plan):
        self.seed = plan.seed
        self.scale = self.settings.penalty / plan.n_train
        for weight in self.network.weights:
            columns = (len(weight.value),) + (1,) * (weight.value.ndim - 1)
            log_std = np.full(columns, -3, weight.value.dtype)
            self.theta.append(Parameter(weight.value.copy(), "weight", f"{weight.name}.theta"))
            self.log_std.append(Parameter(log_std, "gate", f"{weight.name}.log_std"))

    def free_weights(self):
        return self.theta

    def groups(self, learning_rate, weight_decay):
        own = ParameterGroup(self.log_std, 1e-2, always_adam=True, schedule="constant")
        return [*super().groups(learning_rate, weight_decay), own]

    def noise(self, step, i):
        return rng.generator(self.seed, "gates", step.number, i).standard_normal(self.theta[i].value.shape, np.float32)

    def write_weights(self, step):
        for i, weight in enumerate(self.network.weights):
            weight.value[...] = self.theta[i].value * (1 + np.exp(self.log_std[i].value) * self.noise(step, i))

    def read_gradients(self, step):
        penalty = 0.0
        for i, weight in enumerate(self.network.weights):
            theta, log_std = self.theta[i], self.log_std[i]
            std, epsilon = np.exp(log_std.value), self.noise(step, i)
            theta.grad[...] = weight.grad * (1 + std * epsilon)
            axes = tuple(range(1, weight.value.ndim))
            # The penalty -scale * sum of log_std pulls the noise up.
            log_std.grad[...] = (weight.grad * theta.value * epsilon).sum(axis=axes, keepdims=True) * std - self.scale
            penalty -= self.scale * float(log_std.value.sum())
        return penalty

    def write_test_weights(self):
        for weight, theta in zip(self.network.weights, self.theta):
            weight.value[...] = theta.value

    def state(self):
        return {parameter.name: parameter.value for parameter in (*self.theta, *self.log_std)}
'''

# Before the settings are imported, as an edit of the registry would be.
REGISTERED = """
import json
import sys
import toy_methods as toy
from npl0 import pruning
from npl0.pruning.methods import METHODS, Method

for name in ("Proximal", "Gradual", "Noisy"):
    setattr(pruning, name, getattr(toy, name))
    METHODS[name.lower()] = Method(f"{name} method", name, getattr(toy, f"{name}Settings"))

from npl0.cli.run import main

out, flags, methods = json.loads(sys.argv[1])
for name, settings in methods.items():
    own = [f"--{key}={value}" for key, value in settings.items()]
    assert main([*flags, "--method", name, "--out", f"{out}/{name}", *own]) == 0
"""

SETTINGS = {"proximal": {"strength": 0.2}, "gradual": {"sparsity": 0.7}, "noisy": {"penalty": 0.2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the module of the methods."""
    path = tmp_path_factory.mktemp("toy")
    (path / "toy_methods.py").write_text(TOY_METHODS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def toy(folder):
    """The module of the methods."""
    spec = importlib.util.spec_from_file_location("toy_methods", folder / "toy_methods.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules["toy_methods"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["toy_methods"]


@pytest.fixture(scope="module")
def data():
    return npl0.load_dataset("synthetic")


@pytest.fixture
def fit(toy, data, tmp_path):
    """Train a perceptron by a method of the module, as the command does; return network, pruner and rows."""

    def train(name, checkpoint=None, **more):
        network = npl0.build_model("mlp:20", mean=data.mean, std=data.std, seed=1)
        pruner = getattr(toy, name.capitalize())(network, **SETTINGS[name])
        settings = {"epochs": 4, "seed": 1, "learning_rate": 5e-3, "schedule": "linear", "quiet": True, **more}
        rows = npl0.fit(network, data.train_images, data.train_labels, pruner, checkpoint=checkpoint, **settings)
        return network, pruner, rows

    return train


@pytest.mark.filterwarnings("ignore:layer fc. was hardly pruned")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_trains_through_fit(fit, data, name):
    network, pruner, rows = fit(name)
    assert rows[-1].loss < 0.7 * rows[0].loss
    accuracy = npl0.count_correct(network, data.test_images, data.test_labels) / len(data.test_labels)
    assert accuracy > 0.8
    masks = pruner.finalise()
    for weight in network.weights:
        np.testing.assert_array_equal(weight.value != 0, masks[weight.name] & (weight.value != 0))
    # What remains can be trained further by the mask of retraining.
    rows = npl0.fit(network, data.train_images, data.train_labels, npl0.FixedMask(network, masks), epochs=1, quiet=True)
    assert rows[0].kept == sum(mask.sum() for mask in masks.values())


def test_a_proximal_step_follows_the_schedule(fit):
    _, pruner, rows = fit("proximal")
    np.testing.assert_allclose(pruner.rates, 5e-3 * (1 - np.arange(64) / 64))
    kept = [row.kept for row in rows]
    assert kept[-1] < 0.9 * (784 * 20 + 20 * 10)


def test_a_gradual_mask_follows_the_fraction_of_the_stage(fit):
    network, _, rows = fit("gradual")
    size = sum(weight.size for weight in network.weights)
    last = [15 / 64, 31 / 64, 47 / 64, 63 / 64]
    expected = [1 - 0.7 * (1 - (1 - min(1, fraction / 0.75)) ** 3) for fraction in last]
    np.testing.assert_allclose([row.kept / size for row in rows], expected, atol=1e-3)
    assert 0.299 < rows[-1].kept / size < 0.301


def test_parameters_of_a_method_learn_and_its_noise_is_keyed_by_the_step(fit):
    network, pruner, rows = fit("noisy")
    again, _, rows_again = fit("noisy", threads=2)
    assert [row.loss for row in rows] == [row.loss for row in rows_again]
    assert rows[0].penalty > 0
    for log_std in pruner.log_std:
        assert (log_std.value != -3).all() and np.unique(log_std.value).size > 1
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.value, other.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_resumes_to_the_same_bits(fit, tmp_path, monkeypatch, name):
    from npl0.runs.fit import _Follower

    network, pruner, _ = fit(name)
    path, original = tmp_path / "fit.npz", _Follower.after_step

    def after_step(self, progress, loss):
        if (progress.epoch, progress.batch) == (2, 5):
            self.stop.set()
        original(self, progress, loss)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(_Follower, "after_step", after_step)
        fit(name, path)
    resumed, its_pruner, _ = fit(name, path)
    for one, other in ((network.state(), resumed.state()), (pruner.state(), its_pruner.state())):
        assert one.keys() == other.keys()
        for key, array in one.items():
            np.testing.assert_array_equal(other[key], array)


def test_registered_methods_train_through_the_command(folder, fit, tmp_path):
    text = "--model mlp:20 --data synthetic --epochs 4 --seed 1 --learning-rate 5e-3 --schedule linear"
    flags = [*text.split(), "--retrain-epochs", "1", "--quiet", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", REGISTERED, json.dumps([str(tmp_path), flags, SETTINGS])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in SETTINGS:
        (run,) = (tmp_path / name).iterdir()
        assert run.name.startswith(f"mlp-20-synthetic-{name}-")
        with open(run / "log.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["stage"] for row in rows] == ["train"] * 4 + ["retrain"]
        # The command and `fit` give the same bits.
        for row, its in zip(rows, fit(name)[2], strict=False):
            assert (float(row["loss"]), float(row["penalty"]), int(row["kept"])) == (its.loss, its.penalty, its.kept)


# ---- hooks that break the protocol ----------------------------------------------------------------------------------


class NoSuper(npl0.Pruner):
    def __init__(self, network):
        pass


class NotAPruner:
    def __init__(self, network):
        self.network = network


class NoGroups(npl0.Pruner):
    def groups(self, learning_rate, weight_decay):
        super().groups(learning_rate, weight_decay)


class NoMasks(npl0.Pruner):
    def masks(self):
        pass


class FlatMasks(npl0.Pruner):
    def masks(self):
        return {name: mask.reshape(-1) for name, mask in super().masks().items()}


class NoPenalty(npl0.Pruner):
    def read_gradients(self, step):
        pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoSuper, r"NoSuper is no pruner: derive it from npl0\.Pruner, and call super\(\)\.__init__\(network\) in it"),
        (NotAPruner, r"NotAPruner is no pruner: derive it from npl0\.Pruner"),
        (NoGroups, r"NoGroups\.groups must return groups of parameters, not None"),
        (NoMasks, r"masks are needed for fc1\.weight, but were given for a NoneType"),
        (FlatMasks, r"the mask of fc1\.weight must be bool of shape \(2, 4\), not bool \(8,\)"),
        (NoPenalty, r"NoPenalty\.read_gradients must return a number, not None"),
    ],
)
def test_a_pruner_that_breaks_the_protocol_is_named_with_the_hook(kind, message):
    network = npl0.Network([npl0.Linear(4, 2)], (4,))
    with pytest.raises(ValueError, match=message):
        npl0.fit(network, np.ones((8, 4), np.float32), np.arange(8) % 2, kind(network), epochs=1, quiet=True)
