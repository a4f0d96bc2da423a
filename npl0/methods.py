"""How settings become a network and a pruner.

An entry in `PRUNERS`, a name in `config.METHOD_NAMES` and a section of settings are all that a new method needs.
"""

import math
from collections.abc import Callable

from npl0.config import ConfigError, RunConfig, parse_layer_factors
from npl0.data import Dataset
from npl0.nn.models import build_model
from npl0.nn.network import Network
from npl0.pruning import L0, Magnitude, Pruner


def build_network(config: RunConfig, dataset: Dataset | None = None) -> Network:
    """Build the model of a configuration, with the statistics of the data it is for or, without, its own.

    Raises
    ------
    ConfigError
        If the model has no such width or convolution.
    """
    statistics = {} if dataset is None else {"mean": dataset.mean, "std": dataset.std}
    settings = {"seed": config.seed, "shard_size": config.shard_size, "conv": config.conv, "width": config.width}
    try:
        return build_model(config.model, **settings, **statistics)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _build_dense(network: Network, config: RunConfig, n_train: int) -> Pruner:
    return Pruner(network)


def _build_l0(network: Network, config: RunConfig, n_train: int) -> Pruner:
    settings = config.l0
    steps_per_epoch = math.ceil(n_train / config.train.batch_size)
    try:
        return L0(
            network,
            n_train,
            seed=config.seed,
            l0_lambda=settings.l0_lambda,
            layer_lambda=parse_layer_factors(settings.layer_lambda),
            gate_learning_rate=settings.gate_learning_rate,
            log_alpha_init=settings.log_alpha_init,
            ramp_steps=round(settings.ramp_epochs * steps_per_epoch),
            gate_shape=settings.gate_shape,
            test_gate=settings.test_gate,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _build_magnitude(network: Network, config: RunConfig, n_train: int) -> Pruner:
    settings = config.magnitude
    return Magnitude(network, settings.criterion, settings.compression or None, settings.quality)


PRUNERS: dict[str, Callable[[Network, RunConfig, int], Pruner]] = {
    "l0": _build_l0,
    "magnitude": _build_magnitude,
    "dense": _build_dense,
}


def check_method(config: RunConfig) -> None:
    """Build the model and its pruner once for nothing, so that what does not fit fails before data are loaded.

    Raises
    ------
    ConfigError
        If the settings of the model do not fit together, or those of the method do not fit the model.
    """
    PRUNERS[config.method](build_network(config), config, 1)
