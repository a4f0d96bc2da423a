"""The base class of layers, and the context in which a layer processes a shard."""

import inspect
import json
import numbers
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.nn.parameter import Parameter
from npl0.runtime.scratch import Allocator, Shape, fresh


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
    """The base class. Its defaults are those of a layer that has no parameters and keeps the shape.

    The constructor makes the arrays (float32) and keeps each argument as an attribute of the same name, for `describe`.
    `forward` returns a cache for `backward` and keeps no state in the layer: several shards are inside it at a time.
    """

    kind = "layer"
    name = ""
    # Whether x may be overwritten as soon as `forward` returns: `backward` does not read it, and y is not a view of it.
    releases_input = False
    # The smallest shard that the layer accepts in training.
    min_examples = 1
    # The algorithm that a layer with several has chosen, for summaries.
    algorithm_used = ""
    __copy__ = deepcopy

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The trainable arrays, in the order of the gradients that `backward` returns."""
        return ()

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """Arrays that are stored with the network but not trained, by name."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain JSON values; ValueError if one has none, or is not kept.

        For a boolean argument such as `bias`, the attribute may be a `Parameter` or None.
        """
        arguments = {}
        for name, argument in inspect.signature(type(self)).parameters.items():
            remedy = f"set self.{name} to a plain value in the constructor, or override describe()"
            if not hasattr(self, name):
                raise ValueError(f"{type(self).__name__} does not keep its argument {name!r}: {remedy}")
            value = getattr(self, name)
            if isinstance(argument.default, bool) and (value is None or isinstance(value, Parameter)):
                value = value is not None
            try:
                # NumPy's arrays and tuples become lists, and its numbers Python's.
                arguments[name] = json.loads(json.dumps(value, allow_nan=False, default=lambda v: v.tolist()))
            except (AttributeError, TypeError, ValueError) as error:
                found = f"{type(self).__name__} has no JSON form of {value!r}, its {name!r}"
                raise ValueError(f"{found}: {remedy}") from error
        return arguments

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        """Make the parameters anew, of this dtype, and draw their values; not called if stored arrays replace them."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of y for one example of `shape`; ValueError if the layer does not accept it."""
        return shape

    def bind(self, shape: Shape) -> None:
        """Adapt to the shape of one input example; the network calls it once, when it is built."""

    def macs(self, shape: Shape) -> int:
        """Return the number of multiply-adds for one example of input shape `shape`."""
        return 0

    def prepare(self, new: Allocator = fresh, examples: int | None = None) -> Any:
        """Compute what all shards of a step, or of the prediction of `examples`, share; take arrays from `new` only."""
        # Layers prepare in parallel.
        return None

    def merge_statistics(self, caches: list[Any]) -> None:
        """Update the buffers from the caches of one step's shards, in shard order."""

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        """Return `(y, cache)`.

        The next layer may overwrite y, so `backward` must not read it. (`ReLU` may: only another one overwrites y.)
        """
        raise NotImplementedError

    def backward(
        self, grad_y: np.ndarray, cache: Any, context: Context, need_grad_x: bool = True
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
        """Return grad_x (or None, if `need_grad_x` is false) and the gradients in the order of `parameters`."""
        raise NotImplementedError

    def check(self, condition: bool, shape: Shape, expected: str) -> None:
        """Raise ValueError, naming the layer and both shapes, unless the condition holds."""
        if not condition:
            raise ValueError(f"{self.name or self} expects an input of shape {expected}, but gets {shape}")

    def __repr__(self) -> str:
        try:
            arguments = self.describe()
        except ValueError:
            return f"{type(self).__name__}(...)"
        defaults = {name: argument.default for name, argument in inspect.signature(type(self)).parameters.items()}
        shown = [
            repr(value) if defaults.get(name) is inspect.Parameter.empty else f"{name}={value!r}"
            for name, value in arguments.items()
            if value != defaults.get(name)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
