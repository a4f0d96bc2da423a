"""The base class of layers, and what a layer is given.

A layer keeps no state between forward and backward, so several shards can be inside one layer at the same time:
`forward` returns `(y, cache)`, and `backward` receives the cache and returns the gradient of the input and those of the
parameters, in the order of `parameters`.

The constructor makes every array (float32) and keeps each argument as an attribute of the same name, so that a stored
network can be built again; see `Layer.describe`.
"""

import inspect
import json
import numbers
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.nn.parameter import Parameter
from npl0.runtime.scratch import Allocator, fresh

Shape = tuple[int, ...]
_MISSING = object()


def _no_generator() -> np.random.Generator:
    raise RuntimeError("this context has no random generator; in training, the network provides one")


@dataclass(slots=True)
class Context:
    """What a layer needs besides x to process one shard.

    Attributes
    ----------
    training : whether dropout drops values and batch norm uses the statistics of the shard.
    new : the allocator of scratch arrays, whose memory is reused at every step.
    prepared : the result of `Layer.prepare` in this step.
    generator : returns the random generator keyed to (seed, step, layer, shard).
    """

    training: bool = False
    new: Allocator = fresh
    prepared: Any = None
    generator: Callable[[], np.random.Generator] = _no_generator


def whole(owner: str, low: int, **sizes: Any) -> list[int]:
    """Return sizes as Python integers; ValueError, naming owner and argument, unless each is one of at least `low`."""
    for name, size in sizes.items():
        if not isinstance(size, numbers.Integral) or isinstance(size, bool) or size < low:
            raise ValueError(f"{owner}: {name} must be a whole number of at least {low}, not {size!r}")
    return [int(size) for size in sizes.values()]


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


class Layer:
    """The base class. Its defaults are those of a layer that has no parameters and keeps the shape."""

    kind = "layer"
    name = ""
    # Whether x may be overwritten as soon as `forward` returns: `backward` does not read it, and y is not a view of it.
    releases_input = False
    # The smallest shard that the layer accepts in training.
    min_examples = 1
    # The algorithm that a layer with several has chosen, for summaries.
    algorithm_used = ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The trainable arrays, in the order of the gradients that `backward` returns."""
        return ()

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """Arrays that are stored with the network but not trained, by name."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain JSON values.

        They are read from the attributes of the same names. An attribute that is a `Parameter` or None stands for a
        boolean argument, such as `bias`.

        Raises
        ------
        ValueError
            If an argument is not kept as an attribute, or has no JSON form.
        """
        arguments = {}
        for name, argument in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, _MISSING)
            if isinstance(argument.default, bool) and (value is None or isinstance(value, Parameter)):
                value = value is not None
            try:
                # NumPy's arrays and numbers become lists and numbers, tuples become lists.
                arguments[name] = json.loads(json.dumps(value, allow_nan=False, default=lambda v: v.tolist()))
            except (AttributeError, TypeError, ValueError) as error:
                found = "does not keep its argument" if value is _MISSING else f"has no JSON form of {value!r}, its"
                remedy = f"set self.{name} to a plain value in the constructor, or override describe()"
                raise ValueError(f"{type(self).__name__} {found} {name!r}: {remedy}") from error
        return arguments

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        """Draw the initial values of the parameters; not called if stored arrays will replace them."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of y for one example of `shape`; ValueError if the layer does not accept it."""
        return shape

    def bind(self, shape: Shape) -> None:
        """Adapt to the shape of one input example; the network calls it once, when it is built."""

    def macs(self, shape: Shape) -> int:
        """Return the number of multiply-adds for one example of input shape `shape`."""
        return 0

    def prepare(self, new: Allocator = fresh) -> Any:
        """Compute what all shards of a step share. Layers prepare in parallel, so take arrays from `new` only."""
        return None

    def merge_statistics(self, caches: list[Any]) -> None:
        """Update the buffers from the caches of one step's shards, in shard order."""

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        """Return `(y, cache)`.

        The next layer may overwrite y, so `backward` must not read it. (That of `ReLU` may: what follows leaves its y
        alone, or is another `ReLU`.)
        """
        raise NotImplementedError

    def backward(
        self, grad_y: np.ndarray, cache: Any, context: Context, need_grad_x: bool = True
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
        """Return grad_x and the gradients of the parameters; grad_x may be None if `need_grad_x` is false."""
        raise NotImplementedError

    def check(self, condition: bool, shape: Shape, expected: str) -> None:
        """Raise ValueError, naming the layer and both shapes, unless the condition holds."""
        if not condition:
            raise ValueError(f"{self.name or self} expects an input of shape {expected}, but gets {shape}")

    def __repr__(self) -> str:
        try:
            arguments, signature = self.describe(), inspect.signature(type(self)).parameters
        except ValueError:
            return f"{type(self).__name__}(...)"
        shown = []
        for name, value in arguments.items():
            default = signature[name].default if name in signature else None
            if value != default:
                shown.append(repr(value) if default is inspect.Parameter.empty else f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
