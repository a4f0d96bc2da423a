"""Every hand-written backward pass of the package has a check; what has none is found by running the checks."""

import importlib
import inspect
import pkgutil
import sys

import numpy as np
import pytest

import npl0.nn
import npl0.ops
import npl0.pruning
import npl0.training
from npl0 import gradcheck
from npl0.gradcheck.checks import GATE_SHAPES
from npl0.gradcheck.problems import Draw, GradientProblem
from npl0.nn.base import Layer
from npl0.ops.hard_concrete import TEST_GATES
from npl0.pruning.base import Pruner
from npl0.pruning.methods import METHODS, L0Settings
from npl0.training.optimizers import Rule

# The method of a class that holds the code under test.
HOOKS = {"backward": Layer, "read_gradients": Pruner, "update": Rule}


def modules(package):
    """Import every module of a package."""
    return [
        importlib.import_module(f"{package.__name__}.{entry.name}") for entry in pkgutil.iter_modules(package.__path__)
    ]


def defined_in(package, wanted):
    """Return the values defined in the modules of a package for which `wanted(name, value)` holds."""
    return {
        value
        for module in modules(package)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and wanted(name, value)
    }


def subclasses_in(package, base, hook):
    """Return the public classes that have the hook, without the base classes that leave it to their subclasses."""
    abstract = inspect.getsource(getattr(base, hook)).rstrip().endswith("raise NotImplementedError")

    def wanted(name, value):
        concrete = inspect.isclass(value) and issubclass(value, base) and not name.startswith("_")
        return concrete and not (abstract and getattr(value, hook) is getattr(base, hook))

    return defined_in(package, wanted)


def existing():
    """Return what must be checked, by the kinds of check that count for it."""

    def is_gradient(name, value):
        return inspect.isfunction(value) and (name.endswith("_backward") or name == "softmax_cross_entropy")

    public = [getattr(npl0.nn, name) for name in dir(npl0.nn) if not name.startswith("_")]
    layers = {value for value in public if inspect.isclass(value) and issubclass(value, Layer)} - {Layer}
    methods = {getattr(npl0.pruning, method.pruner) for method in METHODS.values()}
    return {
        ("op", "layer"): defined_in(npl0.ops, is_gradient),
        ("layer",): layers | subclasses_in(npl0.nn, Layer, "backward"),
        ("pruner",): methods | subclasses_in(npl0.pruning, Pruner, "read_gradients"),
        ("optimiser",): subclasses_in(npl0.training, Rule, "update"),
    }


def run_by(check, workers):
    """Return the functions of `npl0.ops`, by their code, and the classes that the code under test of a check runs."""
    problem = check.build(Draw(np.random.default_rng(0), workers), *check.case)
    seen = set()

    def look(frame, event, _):
        if event == "call":
            seen.add(frame.f_code)
            owner, base = frame.f_locals.get("self"), HOOKS.get(frame.f_code.co_name)
            if base and isinstance(owner, base):
                seen.add(type(owner))

    if isinstance(problem, GradientProblem):
        y, _ = problem.forward(*problem.arrays)
        grad_y = np.random.default_rng(0).standard_normal(np.shape(y))
    sys.setprofile(look)
    try:
        problem.gradients(grad_y, *problem.arrays) if isinstance(problem, GradientProblem) else problem.tested()
    finally:
        sys.setprofile(None)
    return seen


def unchecked(checks, workers):
    """Return the names of what no check of the right kind runs."""
    seen = {(check.kind, item) for check in checks if check.kind != "network" for item in run_by(check, workers)}
    return {
        f"{value.__module__}.{value.__qualname__}"
        for kinds, values in existing().items()
        for value in values
        if not any((kind, getattr(value, "__code__", value)) in seen for kind in kinds)
    }


def test_every_backward_pass_has_a_check(workers):
    assert unchecked(gradcheck.CHECKS, workers) == set(), "add a check to npl0/gradcheck/checks.py"


def test_what_must_be_checked_is_found():
    names = {value.__qualname__ for values in existing().values() for value in values}
    assert {"Conv2d", "ReLU", "linear_backward", "gate_backward", "Pruner", "L0", "FixedMask", "SGD", "Adam"} <= names
    assert not {"Layer", "Affine", "Rule"} & names


@pytest.mark.parametrize(
    ("dropped", "names"),
    [
        ("Dropout", {"npl0.nn.layers.Dropout", "npl0.ops.activation.dropout_backward"}),
        ("softmax cross-entropy", {"npl0.ops.loss.softmax_cross_entropy"}),
        ("fixed mask", {"npl0.pruning.fixed_mask.FixedMask"}),
        ("dense", {"npl0.pruning.base.Pruner"}),
        ("l0", {"npl0.pruning.l0.L0"}),
        ("sgd", {"npl0.training.optimizers.SGD"}),
    ],
)
def test_checks_that_vanish_are_missed(workers, dropped, names):
    checks = [check for check in gradcheck.CHECKS if not check.name.startswith(dropped)]
    assert unchecked(checks, workers) == names


def test_a_new_layer_is_missed_until_it_is_checked(workers, monkeypatch):
    class Halve(Layer):
        __module__ = "npl0.nn.layers"

        def forward(self, x, context):
            return x / 2, None

        def backward(self, grad_y, cache, context, need_grad_x=True):
            return grad_y / 2, ()

    monkeypatch.setattr("npl0.nn.layers.Halve", Halve, raising=False)
    assert {name.rpartition(".")[2] for name in unchecked(gradcheck.CHECKS, workers)} == {"Halve"}


def test_every_choice_of_gates_has_a_check():
    choices = {entry.name: entry.metadata["choices"] for entry in L0Settings.__dataclass_fields__.values()}
    assert set(choices["gate_shape"]) == set(GATE_SHAPES)
    assert set(choices["test_gate"]) == set(TEST_GATES)
