"""The settings of a run, and how defaults, presets, files and flags are put together."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from npl0.data.registry import DATASETS
from npl0.declare import ConfigError, Settings, declared, setting, suggest
from npl0.nn.models import MODELS, find_model, model_names
from npl0.ops.schedules import SCHEDULES
from npl0.pruning.methods import METHODS
from npl0.settings.presets import presets_of
from npl0.training.recipe import Recipe


@dataclass(frozen=True)
class RetrainSettings(Settings):
    """What retraining does differently from training."""

    epochs: int = setting(3, "epochs of retraining", 0, 100_000)
    learning_rate: float = setting(1e-3, "learning rate", above=0, high=100)
    weight_decay: float = setting(0.0, "L2 strength on the weights", 0, 1)
    schedule: str = setting("cosine", "schedule of the learning rate over the stage", choices=SCHEDULES)


@dataclass(frozen=True)
class RunConfig(Settings):
    """Everything that the bits of a result depend on.

    Attributes
    ----------
    train, retrain : the recipe of training, and what retraining does differently.
    options : the settings of the method, an instance of `METHODS[method].settings`.
    network : the layers of the user's own network, as `npl0.storage.description.describe_network` gives them, or None.
    """

    model: str = setting("lenet5", f"network: {', '.join(model_names())} (any sizes), or a TOML file of layers")
    width: float = setting(1.0, "factor of the channels of vgg16's layers", above=0, high=4)
    data: str = setting("mnist", "data set", choices=DATASETS)
    data_dir: str = setting("", "your own files in its place: a folder or an .npz file", metavar="PATH")
    method: str = setting("l0", "pruning method", choices=METHODS)
    seed: int = setting(0, "seed of every random draw", 0)
    validation: int = setting(
        0, "training images held out for choosing settings, 5000 if no N; accuracies are measured on them", 0, bare=5000
    )
    init_from: str = setting(
        "", "finished run, or model.npz, whose network is the start in place of a random one", metavar="RUN"
    )
    shard_size: int = setting(
        64, "most examples per shard, the unit of a thread and of batch norm; changes the bits", 1, 65_536
    )
    conv: str = setting("auto", "convolution algorithm", choices=("auto", "im2col", "winograd"))
    train: Recipe = field(default_factory=Recipe)
    options: Settings | None = None
    retrain: RetrainSettings = field(default_factory=RetrainSettings)
    network: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options is None:
            object.__setattr__(self, "options", METHODS[self.method].settings())
        if self.network is None:
            try:
                find_model(self.model)
            except ValueError as error:
                raise ConfigError(str(error)) from error

    @property
    def prunes(self) -> bool:
        """Whether the method prunes, so that retraining follows."""
        return METHODS[self.method].prunes

    def recipe(self, stage: str) -> Recipe:
        """Return the recipe of `train` or `retrain`; retraining takes over what it does not set itself."""
        if stage == "train":
            return self.train
        return dataclasses.replace(self.train, **dataclasses.asdict(self.retrain), warmup_epochs=0.0)

    def used(self) -> dict[str, Any]:
        """Return the settings that this run uses, as nested dictionaries; `build_config` reads them back."""
        settings = {entry.name: getattr(self, entry.name) for entry in declared(RunConfig)}
        if self.network is not None:
            settings["network"] = self.network
        if self.network is not None or self.model not in MODELS or not MODELS[self.model].scalable:
            del settings["width"]
        settings["train"] = dataclasses.asdict(self.train)
        if declared(type(self.options)):
            settings[self.method] = dataclasses.asdict(self.options)
        if self.prunes:
            settings["retrain"] = dataclasses.asdict(self.retrain)
        return settings

    def digest(self) -> str:
        """Return eight hexadecimal digits that stand for every used setting but the seed."""
        settings = {key: value for key, value in self.used().items() if key != "seed"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    def run_name(self) -> str:
        """Return the name of the run's folder."""
        # A colon, as in mlp:300-100, cannot stand in a file name everywhere.
        return f"{self.model.replace(':', '-')}-{self.data}-{self.method}-{self.digest()}-s{self.seed}"


# The sections of a settings file: training, one for each method that has settings, retraining.
SECTIONS: dict[str, type[Settings]] = {
    "train": Recipe,
    **{name: method.settings for name, method in METHODS.items() if declared(method.settings)},
    "retrain": RetrainSettings,
}


def build_config(settings: Mapping[str, Any], quick: bool = False) -> RunConfig:
    """Put a configuration together: the defaults, then the presets of model and method, then `settings`.

    Parameters
    ----------
    settings : top-level settings, and sections as nested mappings; whatever is missing keeps its default.
    quick : whether the preset of a quick look comes between presets and settings.

    Raises
    ------
    ConfigError
        If a name is unknown (the nearest one is suggested) or a value is out of range.
    """
    top = {entry.name for entry in declared(RunConfig)}
    check_keys(settings, {*top, *SECTIONS, "network"}, "setting")
    for key in top & settings.keys():
        if not isinstance(settings[key], str | int | float):
            raise ConfigError(f"{key} must be a text or a number, not {settings[key]!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in str(settings[key])):
            raise ConfigError(f"{key} {settings[key]!r} cannot be stored as UTF-8: rename it, or set a UTF-8 locale")
    if not isinstance(settings.get("network", {}), Mapping):
        raise ConfigError(f"network must be a section that describes layers, not {settings['network']!r}")
    model, method = (settings.get(key, getattr(RunConfig, key)) for key in ("model", "method"))
    layers = [*presets_of(model, method, bool(settings.get("init_from")), quick), settings]
    sections = {}
    # Sections of other methods are built too, so that a wrong value in them is reported.
    for name, section in SECTIONS.items():
        merged: dict[str, Any] = {}
        for layer in layers:
            values = layer.get(name, {})
            if not isinstance(values, Mapping):
                raise ConfigError(f"[{name}] must be a section of settings, not {values!r}")
            check_keys(values, [entry.name for entry in declared(section)], f"setting of [{name}]")
            merged.update(values)
        try:
            sections[name] = section(**merged)
        except ConfigError as error:
            raise ConfigError(f"[{name}] {error}") from error
    return RunConfig(
        **{key: layer[key] for layer in layers for key in top & layer.keys()},
        train=sections["train"],
        options=sections.get(method),
        retrain=sections["retrain"],
        network=settings.get("network"),
    )


def check_keys(values: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Raise ConfigError for the first key that is not known."""
    for key in values:
        if key not in known:
            raise ConfigError(f"{key!r} is no {what}: {suggest(key, sorted(known))}")
