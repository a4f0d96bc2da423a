"""The registry of methods holds what exists, and every pruner is in it."""

import dataclasses
import importlib
import inspect
import pkgutil

import pytest

import npl0.pruning
from npl0 import pruning
from npl0.nn import Linear, Network
from npl0.pruning.base import Pruner
from npl0.pruning.methods import METHODS


def pruner_classes():
    """Return every class of the package that follows the protocol."""
    for module in pkgutil.iter_modules(npl0.pruning.__path__, "npl0.pruning."):
        importlib.import_module(module.name)
    found = [Pruner]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if sub.__module__.startswith("npl0.")]
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_a_pruner_that_takes_its_settings(name):
    method = METHODS[name]
    cls = getattr(pruning, method.pruner)
    pruner = cls(Network([Linear(4, 2)], (4,)), **dataclasses.asdict(method.settings()))
    assert isinstance(pruner, Pruner) and cls.name == name
    assert getattr(pruner, "settings", method.settings()) == method.settings()
    # An argument that the settings do not have is refused, and none of them is positional.
    with pytest.raises(TypeError):
        cls(pruner.network, nothing=1)
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    assert all(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_prunes_has_remedies(name):
    assert bool(getattr(pruning, METHODS[name].pruner).remedies) == METHODS[name].prunes
    assert METHODS[name].title


def test_every_pruner_is_a_method_or_the_mask_of_retraining():
    names = {cls.__name__ for cls in pruner_classes()}
    assert names == {method.pruner for method in METHODS.values()} | {"FixedMask"}
    assert names <= set(pruning.__all__)
