"""From the settings of a run to its network and its pruner."""

from dataclasses import asdict

from npl0 import pruning
from npl0.data.dataset import Dataset
from npl0.data.registry import DATASETS
from npl0.declare import ConfigError
from npl0.nn.models import build_model
from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.pruning.methods import METHODS
from npl0.settings.sections import RunConfig
from npl0.storage.description import build_described


def build_network(config: RunConfig, dataset: Dataset | None = None) -> Network:
    """Build the network of a run for its data; without the data, one whose weights are not drawn, to look at.

    ConfigError if its settings do not fit together, or it does not take the images or classes of the data.
    """
    source = DATASETS[config.data] if dataset is None else dataset
    shape, classes = source.image_shape, source.n_classes
    of_data = {"seed": None} if dataset is None else {"seed": config.seed, "mean": dataset.mean, "std": dataset.std}
    try:
        if config.network is not None:
            for name in ("width", "conv"):
                if (value := getattr(config, name)) != getattr(RunConfig, name):
                    raise ValueError(f"{name} = {value} is for built-in models; set it in the layers of {config.model}")
            facts = {"name": config.model, "shard_size": config.shard_size, "input_shape": shape}
            # Without the data nothing is computed, so any statistics of the images will do.
            statistics = {"mean": [0.5] * shape[0], "std": [0.5] * shape[0]}
            network = build_described({**facts, **config.network}, **{**statistics, **of_data})
        else:
            # At least ten outputs, so that a set without some of the digits still gets the usual network.
            sizes = {"input_shape": shape, "classes": max(classes, 10), "shard_size": config.shard_size}
            network = build_model(config.model, width=config.width, conv=config.conv, **sizes, **of_data)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_data(network, dataset.name if dataset else config.data, shape, classes)
    return network


def check_data(network: Network, data: str, shape: tuple[int, ...], classes: int) -> None:
    """Raise ConfigError unless a network takes images of this shape and has an output for every class."""
    if len(network.output_shape) != 1:
        problem = f"the last layer returns {network.output_shape}, not one number per class"
        raise ConfigError(f"{network.name}: {problem}; end with Flatten and Linear")
    if network.input_shape != shape or classes > network.output_shape[0]:
        raise ConfigError(
            f"{network.name} takes images of shape {network.input_shape} in at most {network.output_shape[0]} classes; "
            f"{data} has {shape} in {classes}; choose other data, or another model (mlp takes any)"
        )


def build_pruner(config: RunConfig, network: Network) -> Pruner:
    """Build the pruner of a run; ConfigError if the settings of the method do not fit the network."""
    kind = getattr(pruning, METHODS[config.method].pruner)
    try:
        return kind(network, **asdict(config.options))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_batches(network: Network, n_train: int, batch_size: int) -> None:
    """Raise ValueError if some shard would leave a batch norm a single value per feature."""
    for layer in network.layers:
        for size in {min(batch_size, n_train), n_train % batch_size} - {0}:
            if any(part.stop - part.start < layer.min_examples for part in network.shards(size)):
                raise ValueError(
                    f"{layer.name} of {network.name} cannot normalise a single image: {n_train:,} training images in "
                    f"batches of {batch_size} and shards of {network.shard_size} leave one alone; use another batch "
                    "size, shard size or number of images"
                )
