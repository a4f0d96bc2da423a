"""The public names: they exist, load lazily, and print as one useful line."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0 import runs, training

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(f"npl0.{path.parent.name}".removesuffix(".npl0") for path in (ROOT / "npl0").glob("**/__init__.pyi"))


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_of_a_stub_exists(name):
    package = importlib.import_module(name)
    assert package.__all__ and set(package.__all__) <= set(dir(package))
    for public in package.__all__:
        assert getattr(package, public) is not None
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018


def test_public_names_are_those_of_their_packages():
    for public in npl0.__all__:
        homes = [importlib.import_module(name) for name in PACKAGES if name != "npl0"]
        here = getattr(npl0, public)
        in_a_stub = any(getattr(home, public, None) is here for home in homes if public in home.__all__)
        assert in_a_stub or here.__module__ == "npl0.declare"


def test_importing_the_package_imports_no_numpy():
    heavy = ("numpy", "numba", "scipy", "npl0.runs.fit")
    code = f"import npl0, sys; print(npl0.__version__, [name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out == f"{npl0.__version__} []\n"


def objects():
    """Return an instance of every public class, and what its line must hold."""
    network = npl0.build_model("mlp:30", seed=None)
    weight = network.weights[0]
    gates = npl0.L0(network, l0_lambda=2.5)
    mask = npl0.FixedMask(network, npl0.Pruner(network).masks())
    group = npl0.ParameterGroup([weight], 0.1, weight_decay=0.5)
    recipe = npl0.Recipe(epochs=3)
    stage = npl0.Stage("train", recipe, 7)
    row = npl0.EpochRow("train", 3, 0.5, 0.1, 0.8, None, 900.0, 812, 12.3, 800, 12.5, 1.0, 6123.4, 8.2, None)
    return {
        "Network": (network, ["mlp:30", "(1, 28, 28)", "10", "23,820"]),
        "AvgPool2d": (npl0.AvgPool2d(2), ["2"]),
        "BatchNorm": (npl0.BatchNorm(5), ["5"]),
        "Conv2d": (npl0.Conv2d(3, 8, 5, padding=2), ["3, 8, 5", "padding=2"]),
        "Dropout": (npl0.Dropout(0.25), ["0.25"]),
        "Flatten": (npl0.Flatten(), []),
        "Linear": (npl0.Linear(4, 2), ["4, 2"]),
        "MaxPool2d": (npl0.MaxPool2d(3), ["3"]),
        "ReLU": (npl0.ReLU(), []),
        "Standardise": (npl0.Standardise([0.5], [0.25]), ["0.5", "0.25"]),
        "Parameter": (weight, ["fc1.weight", "(30, 784)", "float32"]),
        "ParameterGroup": (group, ["fc1.weight", "0.1", "0.5"]),
        "L0": (gates, ["mlp:30", "2.5"]),
        "Magnitude": (npl0.Magnitude(network, compression=7), ["mlp:30", "7.0"]),
        "FixedMask": (mask, ["mlp:30", "23,820"]),
        "Pruner": (npl0.Pruner(network), ["mlp:30"]),
        "Plan": (npl0.Plan(1, 100, 3, 4), ["n_train=100", "steps_per_epoch=4"]),
        "Step": (npl0.Step(5, 0.25, 0.5, 0.1), ["number=5", "fraction=0.25", "learning_rate=0.1"]),
        "Recipe": (recipe, ["epochs=3", "optimizer='adam'"]),
        "Stage": (stage, ["train", "epochs=3", "7"]),
        "Progress": (npl0.Progress(2, 5), ["epoch=2", "batch=5"]),
        "EpochRow": (row, ["epoch=3", "kept=812"]),
        "Optimizer": (stage.begin(npl0.Pruner(network), 100), ["Adam", "23,860"]),
        "Adam": (npl0.Adam(), ["beta1=0.9"]),
        "SGD": (npl0.SGD(0.8), ["momentum=0.8"]),
        "Workers": (None, ["1"]),
        "Dataset": (npl0.load_dataset("synthetic"), ["synthetic", "2000", "500"]),
        "WeightCount": (training.WeightCount(10, 5), ["size=10", "kept=5"]),
        "LayerMeasure": (runs.measure_layers(network)[0], ["fc1", "23520"]),
        "PruningWarning": (runs.PruningWarning("fc1 died", "lower {l0_lambda}"), ["fc1 died"]),
    }


# Base classes, protocols and functions' types, of which users make no instance to look at.
WITHOUT = {"Layer", "Observer", "Masks"}


def test_every_public_object_prints_as_one_useful_line():
    made = objects()
    with npl0.Workers(1) as workers:
        made["Workers"] = (workers, ["1"])
    for name, (value, parts) in made.items():
        line = repr(value)
        assert line.lstrip("<").startswith(name), line
        assert "\n" not in line and len(line) <= 500 and " object at 0x" not in line, line
        assert [part for part in parts if part not in line] == [], line
    classes = {name for name in npl0.__all__ if isinstance(getattr(npl0, name), type)}
    errors = {name for name in classes if issubclass(getattr(npl0, name), Exception)}
    assert classes - errors - WITHOUT <= made.keys()
    assert repr(npl0.Observer()).startswith("<") or "Observer" in repr(npl0.Observer())


def test_a_network_of_any_arrays_prints_its_layers():
    network = npl0.build_model("lenet5", seed=None)
    lines = str(network).splitlines()
    assert lines[0] == repr(network)
    assert len([line for line in lines if line.startswith(("conv", "fc", "relu", "maxpool"))]) == 9
    network.weights[0].value[...] = np.eye(20, 25).reshape(20, 1, 5, 5)
    assert "kept" in str(network)
