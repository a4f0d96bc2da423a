"""Settings: which values are refused and with which words, TOML files, presets, and the names of runs."""

import dataclasses
import math
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npl0.data.registry import DATASETS
from npl0.declare import ConfigError, allowed_range, declared, suggest
from npl0.nn.models import MODELS
from npl0.pruning.methods import METHODS, L0Settings
from npl0.settings import presets as presets_module
from npl0.settings.presets import METHOD_PRESETS, MODEL_PRESETS, QUICK, presets_of
from npl0.settings.sections import SECTIONS, RunConfig, build_config
from npl0.settings.toml import format_toml, read_toml
from npl0.training.recipe import Recipe

NETWORK = {"layers": [{"layer": "Flatten"}, {"layer": "Linear", "out_features": 10}]}


def test_defaults_are_in_range_and_complete():
    config = build_config({})
    assert config == RunConfig(train=config.train)
    top = {entry.name for entry in declared(RunConfig)}
    assert set(config.used()) == (top | {"train", "l0", "retrain"}) - {"width"}
    assert config.used()["train"] == {**dataclasses.asdict(Recipe()), "shift": 1}


def test_settings_replace_defaults():
    config = build_config({"model": "lenet300", "seed": 7, "train": {"epochs": 3}, "l0": {"l0_lambda": 5}})
    assert (config.model, config.seed, config.train.epochs, config.options.l0_lambda) == ("lenet300", 7, 3, 5.0)
    assert config.train.batch_size == Recipe().batch_size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modle": "lenet5"}, r"'modle' is no setting: did you mean 'model'\?"),
        ({"train": {"epoch": 3}}, r"'epoch' is no setting of \[train\]: did you mean 'epochs'\?"),
        ({"l0": {"lambda_": 3}}, r"'lambda_' is no setting of \[l0\]: did you mean 'l0_lambda'\?"),
        ({"zzz": 1}, r"'zzz' is no setting: use one of .*model.*train"),
        ({"train": 3}, r"\[train\] must be a section of settings, not 3"),
        ({"model": "lenet6"}, r"model 'lenet6' is unknown: did you mean 'lenet5'\?"),
        ({"method": "zzz"}, r"method 'zzz' is unknown: use one of l0, magnitude, .*dense"),
        ({"model": "mlp:300-0"}, r"model 'mlp:300-0' needs the sizes of its hidden layers, each at least 1, as in mlp"),
        ({"model": 3}, r"model must be a text, not 3"),
        ({"seed": [1]}, r"seed must be a text or a number, not \[1\]"),
        ({"network": 3}, r"network must be a section that describes layers, not 3"),
        ({"seed": -1}, r"seed = -1 is out of range: it must be at least 0"),
        ({"seed": 1.5}, r"seed must be a whole number, not 1\.5"),
        ({"seed": True}, r"seed must be a whole number, not True"),
        ({"data_dir": 3}, r"data_dir must be a text, not 3"),
        ({"data_dir": "d\udcfcr"}, r"data_dir 'd\\udcfcr' cannot be stored as UTF-8: rename it, or set a UTF-8 locale"),
        ({"train": {"epochs": -1}}, r"\[train\] epochs = -1 is out of range: it must be 0 to 100000"),
        ({"retrain": {"epochs": -1}}, r"\[retrain\] epochs = -1 is out of range"),
        ({"train": {"learning_rate": 0}}, r"learning_rate = 0\.0 is out of range: it must be above 0, at most 100"),
        ({"train": {"learning_rate": math.nan}}, r"learning_rate = nan is out of range"),
        ({"l0": {"l0_lambda": math.inf}}, r"l0_lambda = inf is out of range"),
        ({"train": {"learning_rate": "fast"}}, r"learning_rate must be a number, not 'fast'"),
        ({"l0": {"layer_lambda": "conv1"}}, r"layer_lambda 'conv1' is not NAME=FACTOR"),
    ],
)
def test_a_bad_setting_is_named_with_its_remedy(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_config(settings)


@pytest.mark.parametrize("section", [RunConfig, *SECTIONS.values()], ids=lambda section: section.__name__)
def test_both_ends_of_every_range_are_allowed_and_nothing_beyond_them(section):
    bounded = 0
    for field in declared(section):
        kind, limits = type(field.default), field.metadata
        if kind not in (int, float):
            continue
        for limit, beyond in ((limits["low"], -1), (limits["high"], 1)):
            if limit is None:
                continue
            bounded += 1
            assert getattr(section(**{field.name: kind(limit)}), field.name) == limit
            with pytest.raises(ConfigError, match=field.name):
                section(**{field.name: kind(limit) + kind(beyond)})
        if limits["above"] is not None:
            with pytest.raises(ConfigError, match=f"above {limits['above']:g}"):
                section(**{field.name: kind(limits["above"])})
    assert bounded >= 2


def test_numbers_of_numpy_become_those_of_python():
    train = Recipe(epochs=np.int64(3), learning_rate=np.float32(0.5), weight_decay=0)
    assert [type(v) for v in (train.epochs, train.learning_rate, train.weight_decay)] == [int, float, float]
    with pytest.raises(ConfigError, match="epochs must be a whole number"):
        Recipe(epochs=np.float64(3))
    with pytest.raises(ConfigError, match="learning_rate must be a number"):
        Recipe(learning_rate=True)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"low": 0, "high": 1}, "0 to 1"),
        ({"low": 0}, "at least 0"),
        ({"above": 0}, "above 0"),
        ({"above": 0, "high": 2}, "above 0, at most 2"),
        ({"choices": ("a", "b")}, "one of a, b"),
        ({}, ""),
    ],
)
def test_ranges_in_words(metadata, words):
    assert allowed_range({"low": None, "high": None, "above": None, "choices": (), **metadata}) == words


def test_suggestions():
    assert suggest("lenet", ["lenet5", "other"]) == "did you mean 'lenet5'?"
    assert suggest("zzz", ["lenet5", "other"]) == "use one of lenet5, other"


# ---- layer_lambda ---------------------------------------------------------------------------------------------------


def test_layer_factors():
    assert L0Settings(layer_lambda="conv1=0.5, fc1=2").layer_factors() == {"conv1": 0.5, "fc1": 2.0}
    assert L0Settings().layer_factors() == {}
    assert L0Settings(layer_lambda={"conv1": 0.1, "fc1": 2}).layer_factors() == {"conv1": 0.1, "fc1": 2.0}


@pytest.mark.parametrize("text", ["conv1", "conv1=", "conv1=x", "conv1=-1", "conv1=nan", "conv1=inf", "fc1=1,conv1:2"])
def test_bad_layer_factors(text):
    with pytest.raises(ConfigError, match="is not NAME=FACTOR with a finite factor of at least 0"):
        L0Settings(layer_lambda=text)


def test_a_layer_with_two_factors_is_refused():
    with pytest.raises(ConfigError, match="layer_lambda names conv1 twice; give each layer one factor"):
        L0Settings(layer_lambda="conv1=0.5,fc1=2, conv1 = 3")


# ---- files ----------------------------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from([*MODELS, "mlp:20-10"]),
        "width": st.floats(0.01, 4),
        "data": st.sampled_from(list(DATASETS)),
        "data_dir": _TEXT,
        "method": st.sampled_from(list(METHODS)),
        "seed": st.integers(0, 2**63 - 1),
        "train": st.fixed_dictionaries(
            {}, optional={"epochs": st.integers(0, 100_000), "learning_rate": st.floats(1e-12, 100)}
        ),
        "l0": st.fixed_dictionaries(
            {}, optional={"l0_lambda": st.floats(0, 1e6), "log_alpha_init": st.floats(-10, 10)}
        ),
        "network": st.just(NETWORK),
        "magnitude": st.fixed_dictionaries({}, optional={"compression": st.just(0.0) | st.floats(1, 1e9)}),
    },
)


@given(_SETTINGS)
def test_toml_round_trip_keeps_every_used_setting(settings):
    config = build_config(settings)
    stored = tomllib.loads(format_toml(config.used()))
    assert stored == config.used()
    again = build_config(stored)
    assert again.used() == config.used()
    assert again.run_name() == config.run_name()


@given(_TEXT)
def test_any_text_survives_a_toml_file(text):
    assert tomllib.loads(format_toml({"data_dir": text})) == {"data_dir": text}


def test_unreadable_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml: No such file"):
        read_toml(tmp_path / "nowhere.toml")
    path = tmp_path / "bad.toml"
    path.write_text("seed = \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML: .*line 1"):
        read_toml(path)
    path.write_bytes(b"seed = '\xff'\n")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML"):
        read_toml(path)


# ---- presets and names ----------------------------------------------------------------------------------------------


def test_presets_stand_between_defaults_and_settings(monkeypatch):
    monkeypatch.setattr(presets_module, "MODEL_PRESETS", {"lenet300": {"train": {"epochs": 12, "batch_size": 32}}})
    monkeypatch.setattr(presets_module, "METHOD_PRESETS", {("lenet300", "l0"): {"train": {"epochs": 11}}})
    monkeypatch.setattr(presets_module, "QUICK", {"train": {"epochs": 2}, "retrain": {"epochs": 1}})
    assert build_config({"model": "lenet300"}).train.epochs == 11
    assert build_config({"model": "lenet5"}).train.epochs == Recipe().epochs
    quick = build_config({"model": "lenet300"}, quick=True)
    assert (quick.train.epochs, quick.train.batch_size) == (2, 32)
    assert build_config({"model": "lenet300", "train": {"epochs": 5}}, quick=True).train.epochs == 5


def test_a_preset_may_choose_the_data_and_settings_win_over_it(monkeypatch):
    monkeypatch.setattr(presets_module, "METHOD_PRESETS", {("lenet300", "l0"): {"data": "cifar10", "shard_size": 32}})
    assert build_config({}).data == "mnist"
    config = build_config({"model": "lenet300"}, quick=True)
    assert (config.data, config.shard_size) == ("cifar10", 32)
    assert build_config({"model": "lenet300", "data": "synthetic"}).data == "synthetic"


@pytest.mark.parametrize("init_from", ["", "runs/dense"])
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_every_preset_holds_settings_in_their_ranges(model, method, quick, init_from):
    config = build_config({"model": model, "method": method, "init_from": init_from}, quick)
    assert (config.model, config.method) == (model, method)
    sections = {"train": config.train, method: config.options, "retrain": config.retrain}
    expected = {}
    for preset in presets_of(model, method, bool(init_from), quick):
        for name, values in preset.items():
            if isinstance(values, dict):
                expected.setdefault(name, {}).update(values)
            else:
                assert getattr(config, name) == values
    for name in expected.keys() & sections.keys():
        assert expected[name].items() <= vars(sections[name]).items()


def test_presets_are_for_models_and_methods_that_exist():
    assert MODEL_PRESETS.keys() <= MODELS.keys()
    for model, method in [*METHOD_PRESETS, *presets_module.INIT_PRESETS]:
        assert model in MODELS and method in METHODS


@pytest.mark.parametrize("init_from", ["", "runs/dense"])
@pytest.mark.parametrize(("model", "method"), METHOD_PRESETS)
def test_quick_never_trains_longer_than_the_presets(model, method, init_from):
    settings = {"model": model, "method": method, "init_from": init_from}
    plain, quick = (build_config(settings, quick) for quick in (False, True))
    for section in ("train", "retrain"):
        assert getattr(quick, section).epochs == min(getattr(plain, section).epochs, QUICK[section]["epochs"])


def test_vgg16_has_one_budget_for_both_methods_from_a_dense_start():
    l0, magnitude = (
        build_config({"model": "vgg16", "method": method, "init_from": "runs/dense"}) for method in ("l0", "magnitude")
    )
    assert l0.train.epochs + l0.retrain.epochs == magnitude.train.epochs + magnitude.retrain.epochs == 11
    # Without a start, magnitude trains the dense network itself, in the same way as the dense run does.
    alone, dense = (build_config({"model": "vgg16", "method": method}) for method in ("magnitude", "dense"))
    assert alone.train == dense.train


def test_digest_is_stable():
    first, second = (build_config({"train": {"epochs": 1}}) for _ in range(2))
    assert first.digest() == second.digest()
    assert len(first.digest()) == 8 and int(first.digest(), 16) >= 0


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "lenet300"},
        {"data_dir": "/somewhere"},
        {"validation": 10},
        {"shard_size": 32},
        {"train": {"momentum": 0.8}},
        {"l0": {"layer_lambda": "conv1=2"}},
        {"retrain": {"epochs": 6}},
        {"network": NETWORK},
    ],
)
def test_every_used_setting_changes_the_digest(settings):
    assert build_config(settings).digest() != build_config({}).digest()


def test_digest_leaves_out_the_seed_and_what_the_method_does_not_use():
    assert build_config({"seed": 5}).digest() == build_config({}).digest()
    assert build_config({"magnitude": {"compression": 3}}).digest() == build_config({}).digest()
    assert build_config({"seed": 5}).run_name() == f"lenet5-mnist-l0-{build_config({}).digest()}-s5"
    dense = [build_config({"method": "dense", "retrain": {"epochs": n}}) for n in (1, 2)]
    assert dense[0].digest() == dense[1].digest()
    assert "l0" not in dense[0].used() and "retrain" not in dense[0].used()


def test_the_width_belongs_to_the_digest_of_scalable_models_only():
    digests = {build_config({"model": "vgg16", "width": width}).digest() for width in (0.25, 0.5, 1)}
    assert len(digests) == 3
    assert build_config({"model": "vgg16", "width": 0.25}).used()["width"] == 0.25
    assert "width" not in build_config({}).used()


def test_integers_count_as_numbers():
    assert L0Settings(l0_lambda=3).l0_lambda == 3.0 and type(L0Settings(l0_lambda=3).l0_lambda) is float
    same = [build_config({"l0": {"l0_lambda": value}}).digest() for value in (3, 3.0)]
    assert same[0] == same[1]


def test_retraining_takes_over_what_it_does_not_set_itself():
    settings = {"train": {"batch_size": 32, "optimizer": "sgd", "momentum": 0.5, "warmup_epochs": 2.0, "flip": 0.5}}
    config = build_config({**settings, "retrain": {"epochs": 4, "weight_decay": 1e-4}})
    recipe = config.recipe("retrain")
    assert (recipe.batch_size, recipe.optimizer, recipe.momentum, recipe.flip, recipe.shift) == (32, "sgd", 0.5, 0.5, 1)
    assert (recipe.epochs, recipe.weight_decay, recipe.schedule) == (4, 1e-4, "cosine")
    assert (recipe.learning_rate, recipe.warmup_epochs) == (1e-3, 0)
    assert config.recipe("train") is config.train


def test_the_name_of_a_run_is_a_file_name():
    name = build_config({"model": "mlp:300-100"}).run_name()
    assert name.startswith("mlp-300-100-mnist-l0-") and ":" not in name


def test_a_network_of_ones_own_takes_no_width_and_any_name():
    config = build_config({"model": "vgg16", "network": NETWORK, "width": 0.5})
    assert "width" not in config.used() and config.used()["network"] == NETWORK
    assert build_config({"model": "anything", "network": NETWORK}).model == "anything"


def test_settings_show_themselves_in_one_line():
    text = repr(build_config({}))
    assert text.startswith("RunConfig(model='lenet5', ") and "\n" not in text and "l0_lambda=13.0" in text


ENDLESS = ["9" * 4301, "0x" + "f" * 4000, "9" * 310, "-9223372036854775809", "[" * 500, "[" * 17 + "]" * 17]


@pytest.mark.parametrize("value", [*ENDLESS, '"\\u0000"', '"' + "x" * 4097 + '"'])
def test_values_that_no_setting_takes_end_in_one_line(value, tmp_path):
    (tmp_path / "c.toml").write_text(f"data_dir = {value}\n")
    with pytest.raises(ConfigError, match=r"c\.toml is not valid TOML: ") as caught:
        read_toml(tmp_path / "c.toml")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_paths_may_be_as_long_as_the_system_allows(tmp_path):
    settings = {"data_dir": "/long" * 800, "init_from": "/long" * 800}
    (tmp_path / "s.toml").write_text(format_toml(settings))
    assert read_toml(tmp_path / "s.toml") == settings
    (tmp_path / "s.toml").write_text(format_toml({"data_dir": "x" * 4097}))
    with pytest.raises(ConfigError, match="a value is too long"):
        read_toml(tmp_path / "s.toml")
