"""Networks as plain values of JSON or TOML, from which they are built again:

{"input_shape": [1, 28, 28], "layers": [{"layer": "Conv2d", "out_channels": 20, "kernel_size": 5}, ...]}
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from npl0 import nn
from npl0.declare import suggest
from npl0.nn.base import Layer, checked_shape, numbered
from npl0.nn.network import Network
from npl0.storage.files import brief

_KEYS = ("name", "input_shape", "dtype", "shard_size", "layers")
# More layers than any chain needs; building a million of them, as a hostile file may ask, takes minutes.
MOST_LAYERS = 1000


def layer_classes() -> dict[str, type[Layer]]:
    """Return the layer classes by name: those of `npl0.nn`, and every other subclass of `Layer` that is defined."""
    public = {name: value for name in nn.__all__ if isinstance(value := getattr(nn, name), type)}
    found = [Layer]
    for layer_class in found:
        found += layer_class.__subclasses__()
    classes = {layer_class.__name__: layer_class for layer_class in found} | public
    # A class without a forward pass is a base class.
    return {n: c for n, c in classes.items() if issubclass(c, Layer) and c.forward is not Layer.forward}


def describe_network(network: Network) -> dict[str, Any]:
    """Return what a network is built from, without its arrays, as plain JSON values.

    ValueError if one of the user's own layers has the name of a layer of `npl0.nn`.
    """
    classes = layer_classes()
    for layer in network.layers:
        name = type(layer).__name__
        if classes.get(name) is not type(layer):
            raise ValueError(f"{layer.name}: npl0.nn has a class {name} already; rename yours")
    return {
        "name": network.name,
        "input_shape": list(network.input_shape),
        "dtype": network.dtype.name,
        "shard_size": network.shard_size,
        "layers": [{"layer": type(layer).__name__, **layer.describe()} for layer in network.layers],
    }


def _build_layer(entry: Mapping[str, Any], known: dict[str, Any], classes: dict[str, type[Layer]]) -> Layer:
    arguments = dict(entry)
    name = arguments.pop("layer")
    if name not in classes:
        hint = suggest(str(name), classes)
        raise ValueError(f"this layer is unknown: {hint} (the module of a layer of your own must be imported first)")
    parameters = inspect.signature(classes[name]).parameters
    for argument in arguments:
        if argument not in parameters:
            remedy = suggest(argument, parameters) if parameters else "it takes none"
            raise ValueError(f"argument {argument!r} is unknown: {remedy}")
    required = [n for n, p in parameters.items() if p.default is p.empty]
    arguments = {n: known[n] for n in required if known.get(n) is not None} | arguments
    if missing := [n for n in required if n not in arguments]:
        raise ValueError(f"give it {' and '.join(missing)}")
    return classes[name](**arguments)


def build_described(
    description: Mapping[str, Any],
    seed: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    most: float = math.inf,
) -> Network:
    """Build a network from plain values, such as those of `describe_network` or of a TOML file.

    Parameters
    ----------
    description : `input_shape` and `layers`, and optionally `name`, `dtype` and `shard_size`. An entry of `layers`
        names a class of `npl0.nn`, or another subclass of `Layer`, and gives the arguments of its constructor; the
        sizes of its input (`in_channels`, `in_features`, `features`) may be left out.
    seed : keys the draw of the initial weights; None: they stay 0, for the caller to load.
    mean, std : per channel, for a `Standardise` that does not give them.
    most : the largest number of channels or features that a layer may take.

    Raises
    ------
    ValueError
        If a layer is unknown, an argument is unknown, missing or wrong, or the shapes of successive layers do not fit;
        the message gives the number and the class of the layer.
    """
    description = dict(description)
    for key in description:
        if key not in _KEYS:
            raise ValueError(f"a network has no {key!r}: {suggest(str(key), _KEYS)}")
    shape, layers = checked_shape(description.get("input_shape")), []
    entries = description.get("layers")
    if not isinstance(entries, Sequence) or not all(isinstance(e, Mapping) and "layer" in e for e in entries):
        raise ValueError('layers must be a list of entries like {layer = "Linear", out_features = 10}')
    if len(entries) > MOST_LAYERS:
        raise ValueError(f"{len(entries):,} layers are more than the {MOST_LAYERS:,} that a file may describe")
    classes = layer_classes()
    for number, entry in enumerate(entries, 1):
        sizes = {"in_channels": shape[0], "features": shape[0], "in_features": math.prod(shape)}
        with numbered(number, brief(entry["layer"])):
            if shape[0] > most:
                raise ValueError(f"{shape[0]:,} features are more than there are")
            layers.append(_build_layer(entry, {**sizes, "mean": mean, "std": std}, classes))
            shape = layers[-1].output_shape(shape)
    # Constructors make float32 arrays; only `initialise` makes others.
    if seed is None and description.get("dtype", "float32") != "float32":
        seed = 0
    return Network(**{**description, "layers": layers}, seed=seed)
