"""The model file: a network's layers and arrays in one `.npz`, from which it is built again without its source.

The header (plain JSON values) holds under `network` its name, input shape, dtype, shard size and one entry a layer: the
class and the arguments of its constructor. Whatever else the writer wants to tell (classes, settings, data) stands
beside it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npl0.nn import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    ReLU,
    Standardise,
)
from npl0.storage.archive import CheckpointError, load_arrays, save_arrays

Arguments = dict[str, Any]


def _of_conv(layer: Conv2d) -> Arguments:
    out_channels, in_channels, kernel_size, _ = layer.weight.value.shape
    return {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "kernel_size": kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "algorithm": layer.algorithm,
        "bias": layer.bias is not None,
    }


def _of_linear(layer: Linear) -> Arguments:
    out_features, in_features = layer.weight.value.shape
    return {"in_features": in_features, "out_features": out_features, "bias": layer.bias is not None}


def _of_pool(layer: MaxPool2d | AvgPool2d) -> Arguments:
    return {"size": layer.size, "stride": layer.stride}


def _nothing(layer: Layer) -> Arguments:
    return {}


# How to read a layer's constructor arguments off the layer; a layer class that is not here cannot be stored.
_ARGUMENTS_OF: dict[type[Layer], Callable[[Any], Arguments]] = {
    Conv2d: _of_conv,
    Linear: _of_linear,
    MaxPool2d: _of_pool,
    AvgPool2d: _of_pool,
    ReLU: _nothing,
    Flatten: _nothing,
    Dropout: lambda layer: {"rate": layer.rate},
    BatchNorm: lambda layer: {"features": layer.scale.size, "momentum": layer.momentum},
    Standardise: lambda layer: {"mean": layer.mean.tolist(), "std": layer.std.tolist()},
}
_CLASSES = {layer_class.__name__: layer_class for layer_class in _ARGUMENTS_OF}


def describe_network(network: Network) -> dict[str, Any]:
    """Return what a network is built from, as plain JSON values.

    Raises
    ------
    ValueError
        If a layer is not one of npl0's own; the message names it.
    """
    layers = []
    for layer in network.layers:
        if type(layer) not in _ARGUMENTS_OF:
            raise ValueError(
                f"the layer {layer.name} ({type(layer).__name__}) cannot be stored in a model file: it is not one of "
                f"{', '.join(_CLASSES)}"
            )
        layers.append({"layer": type(layer).__name__, **_ARGUMENTS_OF[type(layer)](layer)})
    return {
        "name": network.name,
        "input_shape": list(network.input_shape),
        "dtype": network.dtype.name,
        "shard_size": network.shard_size,
        "layers": layers,
    }


def build_described(description: dict[str, Any]) -> Network:
    """Build the network that `describe_network` described; its weights are drawn anew."""
    layers = []
    for entry in description["layers"]:
        arguments = dict(entry)
        layers.append(_CLASSES[arguments.pop("layer")](**arguments))
    return Network(
        layers,
        tuple(description["input_shape"]),
        description["name"],
        dtype=np.dtype(description["dtype"]),
        shard_size=description["shard_size"],
    )


def save_model(path: str | Path, network: Network, **header: Any) -> None:
    """Write a network to a file, atomically.

    Parameters
    ----------
    path : where to write; an existing file is replaced.
    network : with the weights it is to have; after `Pruner.finalise` these are the pruned ones.
    header : whatever else the file should tell, as JSON values; `classes`, the names of the classes, is what `predict`
        shows.

    Raises
    ------
    ValueError
        If a layer is not one of npl0's own, or there are more classes than outputs.
    OSError
        If the file cannot be written.
    """
    if "classes" in header and len(header["classes"]) > network.output_shape[0]:
        raise ValueError(f"{len(header['classes'])} classes are named, but the network has {network.output_shape[0]}")
    described = {**header, "kind": "model", "network": describe_network(network)}
    # Compression is what makes the zeros of a pruned network cheap.
    save_arrays(path, described, network.state(), compress=True)


def load_model(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Build a network from a model file or from the folder of a finished run.

    Parameters
    ----------
    path : a file that `save_model` or a run wrote, or a run folder.

    Returns
    -------
    network : with the stored weights; ready for `predict`, and for more training.
    header : what stands beside the arrays; `network`, and of a run also `classes`, `settings` and `data`.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, or not a model of npl0's.
    """
    path = find_model(path)
    header, arrays = load_arrays(path, "a model")
    if header.get("kind") != "model":
        raise CheckpointError(f"{path} holds a {header.get('kind')}, not a model; name a model.npz or its run folder")
    try:
        network = build_described(header["network"])
        network.load_state(arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a sound model file ({error}); make it again") from error
    return network, header


def find_model(path: str | Path) -> Path:
    """Return the model file that is meant by a file, which is itself, or by a run folder.

    Raises
    ------
    CheckpointError
        If it is a folder without one; the message tells why, and what to name.
    """
    folder = Path(path)
    if not folder.is_dir():
        return folder
    path = folder / "model.npz"
    if path.is_file():
        return path
    if (folder / "checkpoint.npz").is_file():
        raise CheckpointError(
            f"the run {folder} is not finished; finish it with: python -m npl0.run --config {folder / 'config.toml'} "
            f"--out {folder.parent}"
        )
    if (folder / "result.json").is_file():
        raise CheckpointError(
            f"the run {folder} is finished, but its model.npz is not there; repeat the run in another --out, or "
            "replace this one with --force"
        )
    inside = sorted(entry.parent.name for entry in folder.glob("*/model.npz"))
    hint = f"; it holds the runs {', '.join(inside[:5])}: name one of them" if inside else ""
    raise CheckpointError(f"{folder} has no model.npz{hint or '; name the folder of a finished run'}")
