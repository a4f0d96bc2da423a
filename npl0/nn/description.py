"""Networks as plain values of JSON or TOML, from which they are built again, such as

{"input_shape": [1, 28, 28], "layers": [{"layer": "Conv2d", "out_channels": 20, "kernel_size": 5}, ...]}
"""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from npl0 import nn
from npl0.nn.base import Layer, Shape, whole
from npl0.runtime.settings import suggest

_KEYS = ("name", "input_shape", "dtype", "shard_size", "layers")


@contextmanager
def numbered(number: int, layer_class: str) -> Iterator[None]:
    """Say in the message of an error which layer of the network it concerns."""
    try:
        yield
    except (TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"layer {number} ({layer_class}): {error}") from error


def checked_shape(shape: Any) -> Shape:
    """Return the shape of one example as a tuple; ValueError if it is not one."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not shape:
        raise ValueError(f"input_shape must be sizes like (1, 28, 28), not {shape!r}")
    return tuple(whole("input_shape", 1, **{f"size {i}": side for i, side in enumerate(shape, 1)}))


def layer_classes() -> dict[str, type[Layer]]:
    """Return the layer classes by name: those of `npl0.nn`, and every other subclass of `Layer` that is defined."""
    public = {name: value for name in nn.__all__ if isinstance(value := getattr(nn, name), type)}
    found = [Layer]
    for layer_class in found:
        found += layer_class.__subclasses__()
    classes = {layer_class.__name__: layer_class for layer_class in found} | public
    # A class without a forward pass is a base class.
    return {n: c for n, c in classes.items() if issubclass(c, Layer) and c.forward is not Layer.forward}


def describe_layer(layer: Layer) -> dict[str, Any]:
    """Return the name of a layer's class and its arguments.

    Raises
    ------
    ValueError
        If the layer could not be built again from them.
    """
    described, layer_class = layer.describe(), type(layer)
    if not layer_class.__module__.startswith("npl0."):
        if "layer" in described:
            raise ValueError("an argument cannot be called 'layer', which stands for the class; rename it")
        if getattr(nn, layer_class.__name__, layer_class) is not layer_class:
            raise ValueError("npl0.nn has a class of this name already; rename yours")
        again = None
        with suppress(TypeError):
            again = layer_class(**described).describe()
        if again != described:
            remedy = "keep each unchanged in an attribute of its name, or override describe()"
            raise ValueError(f"its arguments {described} do not make the same layer: {remedy}")
    return {"layer": layer_class.__name__, **described}


def _build_layer(entry: Mapping[str, Any], known: dict[str, Any]) -> Layer:
    arguments = dict(entry)
    name, classes = arguments.pop("layer"), layer_classes()
    if name not in classes:
        raise ValueError(f"this layer is unknown: {suggest(str(name), classes)}")
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


def read_description(
    description: Mapping[str, Any], mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return the arguments of `Network` that a description stands for.

    Parameters
    ----------
    description : `input_shape` and `layers`, and optionally `name`, `dtype` and `shard_size`. An entry of `layers`
        names a class of `npl0.nn`, or another subclass of `Layer`, and gives the arguments of its constructor; the
        sizes of its input (`in_channels`, `in_features`, `features`) may be left out.
    mean, std : per channel, for a `Standardise` that does not give them.

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
    for number, entry in enumerate(entries, 1):
        inferred = {"in_channels": shape[0], "features": shape[0], "in_features": math.prod(shape)}
        with numbered(number, entry["layer"]):
            layers.append(_build_layer(entry, {**inferred, "mean": mean, "std": std}))
            shape = layers[-1].output_shape(shape)
    return description | {"layers": layers}
