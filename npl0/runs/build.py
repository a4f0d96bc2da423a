"""How settings become a network and a pruner.

An entry in `PRUNERS`, a name in `config.METHOD_NAMES` and a section of settings are all that a new method needs.
"""

import math
from collections.abc import Callable

from npl0.settings.sections import ConfigError, RunConfig, parse_layer_factors
from npl0.data import IMAGE_SHAPES, Dataset
from npl0.nn.models import INPUT_SHAPES, build_model
from npl0.nn.network import Network
from npl0.pruning import L0, Magnitude, Pruner
from npl0.runs.start import Start, load_start, start_exists
from npl0.training.loop import check_batches


def build_network(config: RunConfig, dataset: Dataset | None = None) -> Network:
    """Build the model of a configuration for data; without them, one that only its shapes are asked of, weights 0.

    Raises
    ------
    ConfigError
        If the model has no such width or convolution.
    """
    # Drawing the weights takes most of the time that building does.
    of_data = {"seed": None} if dataset is None else {"seed": config.seed, "mean": dataset.mean, "std": dataset.std}
    try:
        return build_model(config.model, width=config.width, shard_size=config.shard_size, conv=config.conv, **of_data)
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
            gate_schedule=settings.gate_schedule,
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


def check_fit(config: RunConfig, begun: bool = False) -> Start | None:
    """Build the model and its pruner once for nothing, so that what does not fit fails before data are loaded.

    Parameters
    ----------
    config : the settings.
    begun : whether there is a result or checkpoint of this run, which holds all that it needs of its start.

    Returns
    -------
    The network to start from, if the configuration names one; None too if that of a run that has begun is gone.

    Raises
    ------
    ConfigError
        If the settings of the model do not fit together, the model does not take the images of the data set, the
        network to start from does not fit, the settings of the method do not fit the model, or a batch leaves a batch
        norm with one image.
    CheckpointError
        If the network to start from cannot be read.
    """
    network = build_network(config)
    # Files of one's own in MNIST's format may hold images of any size, and tell it when they are read.
    if not (config.data == "mnist" and config.data_dir) and network.input_shape != IMAGE_SHAPES[config.data]:
        raise ConfigError(_no_fit(config))
    start = None
    if config.init_from and (not begun or start_exists(config.init_from)):
        start = load_start(config, network)
    PRUNERS[config.method](network, config, 1)
    check_batches(network, config.train.batch_size, config.train.batch_size)
    return start


def _no_fit(config: RunConfig) -> str:
    takes, has = INPUT_SHAPES[config.model], IMAGE_SHAPES[config.data]
    remedies = [f"--data {name}" for name, shape in IMAGE_SHAPES.items() if shape == takes]
    remedies += [f"--model {name}" for name, shape in INPUT_SHAPES.items() if shape == has]
    return (
        f"{config.model} takes images of shape {takes}, but those of {config.data} are {has}; use "
        f"{' or '.join(remedies)}"
    )
