"""The pruning methods by name: their settings, and the class that implements each.

To add a method, declare its settings here and add an entry to `METHODS`. The class is named, not imported, so that
reading this table loads nothing heavy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from npl0.declare import ConfigError, Settings, setting
from npl0.ops.schedules import SCHEDULES


@dataclass(frozen=True)
class L0Settings(Settings):
    """Settings of `npl0.L0`. As a Python argument, `layer_lambda` may be a dictionary."""

    l0_lambda: float = setting(13.0, "L0 strength per weight, divided by the number of training examples", 0, 1e6)
    layer_lambda: str = setting("", "factors of l0_lambda for single layers, like conv1=0.5,fc1=2", metavar="LIST")
    gate_learning_rate: float = setting(3e-2, "learning rate of the gates", above=0, high=100)
    gate_schedule: str = setting("step", "schedule of the gates' learning rate over the stage", choices=SCHEDULES)
    log_alpha_init: float = setting(2.2, "initial log_alpha of the gates; 2.2 opens 98 % of them", -10, 10)
    ramp_epochs: float = setting(6.0, "epochs over which l0_lambda rises from 0", 0, 100_000)
    gate_shape: str = setting("weight", "what has a gate of its own", choices=("weight", "filter", "input"))
    test_gate: str = setting(
        "paper", "test-time gate: the paper's, or the median of the random one", choices=("paper", "median")
    )

    def __post_init__(self) -> None:
        if isinstance(self.layer_lambda, Mapping):
            text = ",".join(f"{name}={factor!r}" for name, factor in self.layer_lambda.items())
            object.__setattr__(self, "layer_lambda", text)
        super().__post_init__()
        self.layer_factors()

    def layer_factors(self) -> dict[str, float]:
        """Return `layer_lambda` as a dictionary; ConfigError if it cannot be read."""
        factors: dict[str, float] = {}
        for part in filter(None, self.layer_lambda.split(",")):
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


@dataclass(frozen=True)
class MagnitudeSettings(Settings):
    """Settings of `npl0.Magnitude`."""

    criterion: str = setting(
        "global",
        "compare magnitudes across all layers, or relative to the standard deviation of their layer",
        choices=("layer-std", "global"),
    )
    compression: float = setting(
        100.0, "weights / kept weights, met exactly, at least 1; or 0: use the quality instead", 0, 1e9
    )
    quality: float = setting(2.0, "threshold in standard deviations, used where compression is 0", 0, 1e3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.compression < 1:
            raise ConfigError(f"compression = {self.compression} is out of range: it must be at least 1, or 0")


@dataclass(frozen=True)
class Method:
    """An entry of `METHODS`: the heading of the settings in help texts, and the name of the class in `npl0.pruning`.

    `settings` are the keyword arguments that the class takes. If it `prunes`, pruning and retraining follow.
    """

    title: str
    pruner: str
    settings: type[Settings] = Settings
    prunes: bool = True


METHODS: dict[str, Method] = {
    "l0": Method("L0 gates", "L0", L0Settings),
    "magnitude": Method("magnitude pruning", "Magnitude", MagnitudeSettings),
    "dense": Method("dense training", "Pruner", prunes=False),
}
