"""Settings: one frozen dataclass a stage, from which flags, TOML keys, help texts and checks all come.

This module imports nothing heavy, so `--help` is quick.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from npl0.runtime.settings import ConfigError, Settings, setting, suggest
from npl0.settings.presets import INIT_PRESETS, PRESETS, QUICK

MODEL_NAMES = ("lenet5", "lenet300", "vgg16")
# Models whose layers `width` scales; the others have the sizes of their papers.
SCALABLE_MODELS = ("vgg16",)
DATA_NAMES = ("mnist", "cifar10", "synthetic")
METHOD_NAMES = ("l0", "magnitude", "dense")
_SCHEDULES = ("constant", "step", "linear", "cosine", "one-cycle")
_OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The first stage: training, with whatever the method adds."""

    epochs: int = setting(18, "epochs of training", 0, 100_000)
    batch_size: int = setting(128, "examples of a mini-batch", 1, 65_536)
    optimizer: str = setting("adam", "optimiser", choices=_OPTIMIZERS)
    learning_rate: float = setting(2e-3, "learning rate of the weights", above=0, high=100)
    momentum: float = setting(0.9, "of the weights: SGD's (Nesterov) momentum, Adam's beta1", 0, 0.9999)
    weight_decay: float = setting(0.0, "L2 strength on the weights", 0, 1)
    schedule: str = setting("step", "course of the weights' learning rate over the stage", choices=_SCHEDULES)
    warmup_epochs: float = setting(
        0.0, "epochs over which the weights' learning rate rises from 0, times the schedule", 0, 100_000
    )
    shift: int = setting(1, "augmentation of both stages: random shifts of the images, in pixels", 0, 16)
    flip: float = setting(0.0, "augmentation of both stages: probability that an image is mirrored left to right", 0, 1)


@dataclass(frozen=True)
class L0Config(Settings):
    """The gates of `--method l0`."""

    l0_lambda: float = setting(13.0, "L0 strength per weight, divided by the number of training examples", 0, 1e6)
    layer_lambda: str = setting("", "factors of l0_lambda for single layers, like conv1=0.5,fc1=2", metavar="LIST")
    gate_learning_rate: float = setting(3e-2, "learning rate of the gates", above=0, high=100)
    gate_schedule: str = setting("step", "course of the gates' learning rate over the stage", choices=_SCHEDULES)
    log_alpha_init: float = setting(2.2, "where the gates start; 2.2 opens 98 % of them", -10, 10)
    ramp_epochs: float = setting(6.0, "epochs over which l0_lambda rises from 0", 0, 100_000)
    gate_shape: str = setting(
        "weight", "one gate a weight, a filter (output unit) or an input", choices=("weight", "filter", "input")
    )
    test_gate: str = setting(
        "paper", "test-time gate: the paper's, or the median of the random one", choices=("paper", "median")
    )


@dataclass(frozen=True)
class MagnitudeConfig(Settings):
    """The threshold of `--method magnitude`."""

    criterion: str = setting(
        "global",
        "compare magnitudes with their layer's standard deviation, or all with each other",
        choices=("layer-std", "global"),
    )
    compression: float = setting(
        100.0, "weights / kept weights, met exactly, at least 1; or 0: use the quality instead", 0, 1e9
    )
    quality: float = setting(2.0, "threshold in standard deviations, where compression is 0", 0, 1e3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.compression < 1:
            raise ConfigError(f"compression = {self.compression} is out of range: it must be at least 1, or 0")


@dataclass(frozen=True)
class RetrainConfig(Settings):
    """The last stage: the survivors learn on under a fixed mask, with the optimiser of the training."""

    epochs: int = setting(3, "epochs of retraining", 0, 100_000)
    learning_rate: float = setting(1e-3, "learning rate", above=0, high=100)
    weight_decay: float = setting(0.0, "L2 strength on the weights", 0, 1)
    schedule: str = setting("cosine", "course of the learning rate over the stage", choices=_SCHEDULES)


@dataclass(frozen=True)
class RunConfig(Settings):
    """All that decides the bits of a result."""

    model: str = setting("lenet5", "network", choices=MODEL_NAMES)
    width: float = setting(1.0, "factor on the channels of vgg16's layers", above=0, high=4)
    data: str = setting("mnist", "data set", choices=DATA_NAMES)
    data_dir: str = setting(
        "", "folder with files of one's own: four IDX files for mnist, the six .bin files for cifar10", metavar="DIR"
    )
    method: str = setting("l0", "pruning method", choices=METHOD_NAMES)
    seed: int = setting(0, "seed of every random draw", 0)
    validation: int = setting(
        0, "training images set aside for choosing settings, 5000 if no N; accuracies are then theirs", 0, bare=5000
    )
    init_from: str = setting(
        "", "finished run, or model.npz, whose network is trained on in place of a random one", metavar="RUN"
    )
    shard_size: int = setting(64, "examples a thread takes at a time; decides bits, like the seed", 1, 65_536)
    conv: str = setting("auto", "convolution algorithm", choices=("auto", "im2col", "winograd"))
    train: TrainConfig = field(default_factory=TrainConfig)
    l0: L0Config = field(default_factory=L0Config)
    magnitude: MagnitudeConfig = field(default_factory=MagnitudeConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)

    def used(self) -> dict[str, Any]:
        """Return the settings as nested dictionaries, without the sections of other methods and a width without use."""
        settings = dataclasses.asdict(self)
        if self.model not in SCALABLE_MODELS:
            del settings["width"]
        for section in ("l0", "magnitude"):
            if section != self.method:
                del settings[section]
        if self.method == "dense":
            del settings["retrain"]
        return settings

    def digest(self) -> str:
        """Return eight hex digits that stand for every used setting but the seed."""
        settings = self.used()
        del settings["seed"]
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def run_name(self) -> str:
        """Return the name of the run's folder."""
        return f"{self.model}-{self.data}-{self.method}-{self.digest()}-s{self.seed}"


SECTIONS: dict[str, type[Settings]] = {
    "train": TrainConfig,
    "l0": L0Config,
    "magnitude": MagnitudeConfig,
    "retrain": RetrainConfig,
}


def parse_layer_factors(text: str) -> dict[str, float]:
    """Read `conv1=0.5,fc1=2`; ConfigError says what is wrong."""
    factors: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = (word.strip() for word in part.partition("="))
        try:
            factor = float(value)
        except ValueError:
            factor = math.nan
        if not name or not 0 <= factor < math.inf:
            raise ConfigError(f"layer_lambda {part!r} is not NAME=FACTOR with a finite factor of at least 0")
        if name in factors:
            raise ConfigError(f"layer_lambda names {name} twice; give each layer one factor")
        factors[name] = factor
    return factors


def build_config(settings: Mapping[str, Any], quick: bool = False) -> RunConfig:
    """Put a configuration together: defaults, then the presets of model and method, then `settings`.

    Parameters
    ----------
    settings : top-level fields, and sections as nested mappings; what is not named keeps its default.
    quick : whether the preset of `--quick` stands between.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest is named) or a value is out of range.
    """
    top = {f.name for f in dataclasses.fields(RunConfig)} - SECTIONS.keys()
    check_keys(settings, top | SECTIONS.keys(), "setting")
    for key in top & settings.keys():
        if not isinstance(settings[key], str | int | float):
            raise ConfigError(f"{key} must be a text or a number, not {settings[key]!r}")
    model = settings.get("model", RunConfig.model)
    method = settings.get("method", RunConfig.method)
    presets = [PRESETS.get((model, method), {})]
    if settings.get("init_from"):
        presets.append(INIT_PRESETS.get((model, method), {}))
    if quick:
        presets.append(_shortened(QUICK, presets))
    layers = [*presets, settings]
    scalars = {key: layer[key] for layer in layers for key in top & layer.keys()}
    sections = {}
    for name, section in SECTIONS.items():
        fields = {f.name for f in dataclasses.fields(section)}
        merged: dict[str, Any] = {}
        for layer in layers:
            values = layer.get(name, {})
            if not isinstance(values, Mapping):
                raise ConfigError(f"[{name}] must be a section of settings, not {values!r}")
            check_keys(values, fields, f"setting of [{name}]")
            merged.update(values)
        try:
            sections[name] = section(**merged)
        except ConfigError as error:
            raise ConfigError(f"[{name}] {error}") from error
    config = RunConfig(**scalars, **sections)
    parse_layer_factors(config.l0.layer_lambda)
    return config


def _shortened(quick: dict[str, Any], presets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the preset of `--quick`, with no more epochs in any section than the other presets have."""
    shortened = {name: dict(values) for name, values in quick.items()}
    for preset in presets:
        for name, values in shortened.items():
            if "epochs" in values:
                values["epochs"] = min(values["epochs"], preset.get(name, {}).get("epochs", math.inf))
    return shortened


def check_keys(values: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Raise ConfigError for the first key that is not known."""
    known = set(known)
    for key in values:
        if key not in known:
            raise ConfigError(f"{key!r} is no {what}: {suggest(key, sorted(known))}")
