"""Settings offer exactly what exists, and a registry that names nothing is reported."""

import pytest

from npl0 import nn
from npl0.data import load_dataset
from npl0.data.registry import DATASETS, Source
from npl0.declare import ConfigError, declared
from npl0.nn.models import MODELS, build_model
from npl0.ops import hard_concrete
from npl0.ops.schedules import SCHEDULES
from npl0.pruning.l0 import gate_shape
from npl0.pruning.methods import METHODS, L0Settings, MagnitudeSettings, Method
from npl0.runs.build import build_pruner
from npl0.settings.flags import flag_name
from npl0.settings.sections import SECTIONS, RetrainSettings, RunConfig, build_config
from npl0.training.optimizers import build_optimizer
from npl0.training.recipe import Recipe


def choices(section, name):
    """Return the choices of a setting."""
    (entry,) = [entry for entry in declared(section) if entry.name == name]
    return entry.metadata["choices"]


def test_choices_are_what_exists():
    assert choices(RunConfig, "data") == tuple(DATASETS)
    assert choices(RunConfig, "method") == tuple(METHODS)
    assert choices(L0Settings, "test_gate") == tuple(hard_concrete.TEST_GATES)
    for section, name in ((Recipe, "schedule"), (RetrainSettings, "schedule"), (L0Settings, "gate_schedule")):
        assert choices(section, name) == tuple(SCHEDULES)


def test_every_optimiser_gate_shape_criterion_and_convolution_works():
    rules = {type(build_optimizer(Recipe(optimizer=name), []).rule) for name in choices(Recipe, "optimizer")}
    assert len(rules) == len(choices(Recipe, "optimizer"))
    shapes = {gate_shape((2, 3, 5, 5), kind) for kind in choices(L0Settings, "gate_shape")}
    assert len(shapes) == len(choices(L0Settings, "gate_shape"))
    for criterion in choices(MagnitudeSettings, "criterion"):
        assert MagnitudeSettings(criterion=criterion).criterion == criterion
    for algorithm in choices(RunConfig, "conv"):
        assert nn.Conv2d(1, 2, 3, algorithm=algorithm)
    with pytest.raises(ValueError, match="auto") as refused:
        nn.Conv2d(1, 2, 3, algorithm="fft")
    assert all(algorithm in str(refused.value) for algorithm in choices(RunConfig, "conv"))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_built_and_accepted_as_a_setting(name):
    assert build_model(name, seed=None).name == build_config({"model": name}).model == name


def test_sections_are_those_of_the_methods_with_settings():
    assert list(SECTIONS) == ["train", *(name for name in METHODS if declared(METHODS[name].settings)), "retrain"]


def test_names_of_settings_are_unique_as_they_become_flags():
    flags = [
        flag_name(section, entry.name)
        for section, settings in {"": RunConfig, **SECTIONS}.items()
        for entry in declared(settings)
    ]
    assert sorted({flag for flag in flags if flags.count(flag) > 1}) == []


def test_a_method_whose_class_does_not_exist_is_named(monkeypatch):
    monkeypatch.setitem(METHODS, "dense", Method("dense training", "Nothing", prunes=False))
    with pytest.raises((ConfigError, AttributeError), match="Nothing"):
        build_pruner(build_config({"method": "dense"}), build_model("lenet300", seed=None))


def test_a_data_set_whose_module_does_not_exist_is_named(monkeypatch):
    monkeypatch.setitem(DATASETS, "synthetic", Source(module="npl0.data.nothing", image_shape=(1, 28, 28)))
    with pytest.raises(ModuleNotFoundError, match=r"npl0\.data\.nothing"):
        load_dataset("synthetic")
