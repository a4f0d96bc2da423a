"""Layers: an operation of `npl0.ops`, its parameters, and the shapes it accepts.

A layer keeps nothing between forward and backward. `forward` returns `(y, cache)`; `backward` takes the cache back and
returns the gradient of its input and the gradients of its parameters, in the order of `parameters`. So any number of
shards may be inside one layer at the same time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.nn.parameter import Parameter
from npl0.ops import activation, linear, pool
from npl0.runtime.scratch import Allocator, fresh

Shape = tuple[int, ...]


def _no_generator() -> np.random.Generator:
    raise RuntimeError("this pass has no random generator; training passes get one from the network")


@dataclass(slots=True)
class Context:
    """What one layer is given for one shard.

    Attributes
    ----------
    training : whether dropout drops and batch norm uses the statistics of the shard.
    new : the allocator of scratch arrays, reused from step to step.
    prepared : what `Layer.prepare` returned for this step.
    generator : returns the random generator keyed to (seed, step, layer, shard).
    """

    training: bool = False
    new: Allocator = fresh
    prepared: Any = None
    generator: Callable[[], np.random.Generator] = _no_generator


class Layer:
    """The base class; its defaults are those of a layer without parameters that keeps the shape."""

    kind = "layer"
    name = ""
    # Whether nothing needs x any more when `forward` returns: neither the backward, nor y by being x.
    releases_input = False
    # How many examples a shard must have in training.
    min_examples = 1

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The trainable arrays, in the order of the gradients that `backward` returns."""
        return ()

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """Arrays that belong to the model but are not trained, by name."""
        return {}

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        """Draw the first values of the parameters."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one example after this layer; ValueError if it does not accept `shape`."""
        return shape

    def bind(self, shape: Shape) -> None:
        """Be told by the network, once, what shape of one example comes in."""

    def macs(self, shape: Shape) -> int:
        """Return the multiply-adds of one example of input shape `shape`."""
        return 0

    def prepare(self, new: Allocator = fresh) -> Any:
        """Compute what all shards share in a step, in arrays of `new(...)` only: layers prepare at the same time."""
        return None

    def merge_statistics(self, caches: list[Any]) -> None:
        """Take over what the shards of one step measured, in shard order."""

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        """Return `(y, cache)`; y may be x, overwritten, so no backward but ReLU's may need the y of its layer."""
        raise NotImplementedError

    def backward(
        self, grad_y: np.ndarray, cache: Any, context: Context, need_grad_x: bool = True
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
        """Return `(grad_x, gradients of parameters)`; grad_x may be None unless `need_grad_x`."""
        raise NotImplementedError

    def check(self, condition: bool, shape: Shape, expected: str) -> None:
        """Raise ValueError, naming the layer and both shapes, unless the condition holds."""
        if not condition:
            raise ValueError(f"{self.name or self.kind} expects {expected}, but gets {shape} an example")


def he_normal(shape: Shape, fan_in: int, generator: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Draw N(0, 2 / fan_in), which keeps the variance through ReLU layers (He et al. 2015, eq. 10)."""
    values, deviation = np.empty(shape, dtype), math.sqrt(2 / fan_in)
    # Row by row, for the draw is in float64 and would take twice the memory of the weight.
    for row in values:
        row[...] = generator.standard_normal(row.shape) * deviation
    return values


class Affine(Layer):
    """What `Linear` and `Conv2d` share: a weight of shape (out, in, ...), and a bias of shape (out,) or None."""

    def __init__(self, shape: Shape, bias: bool) -> None:
        self.weight = Parameter(np.zeros(shape, np.float32), "weight")
        self.bias = Parameter(np.zeros(shape[0], np.float32), "bias") if bias else None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        shape = self.weight.value.shape
        self.weight.value = he_normal(shape, math.prod(shape[1:]), generator, dtype)
        if self.bias is not None:
            self.bias.value = np.zeros(shape[0], dtype)

    @property
    def bias_value(self) -> np.ndarray | None:
        """The values of the bias, None without one."""
        return None if self.bias is None else self.bias.value

    def gradients(self, grad_y: np.ndarray, grad_w: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return grad_w and, with a bias, grad_b: the gradients in the order of `parameters`."""
        return (grad_w,) if self.bias is None else (grad_w, linear.bias_backward(grad_y))


class Linear(Affine):
    """`y = W x + b` on `(in_features, N)`; without `bias` there is no b."""

    kind = "fc"

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear needs positive sizes, not {in_features} and {out_features}")
        super().__init__((out_features, in_features), bias)

    def output_shape(self, shape: Shape) -> Shape:
        out_features, in_features = self.weight.value.shape
        self.check(shape == (in_features,), shape, f"({in_features},)")
        return (out_features,)

    def macs(self, shape: Shape) -> int:
        return self.weight.size

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return linear.linear_forward(x, self.weight.value, self.bias_value, context.new), x

    def backward(self, grad_y, cache, context, need_grad_x=True):
        grad_x, grad_w = linear.linear_backward(grad_y, cache, self.weight.value, need_grad_x, context.new)
        return grad_x, self.gradients(grad_y, grad_w)


class ReLU(Layer):
    """`y = max(x, 0)`, written over x: it saves as much memory as the network's largest arrays take."""

    kind = "relu"

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        y = activation.relu_forward(x, out=x)
        return y, y

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return activation.relu_backward(grad_y, cache, context.new), ()


class Dropout(Layer):
    """Zero each value with probability `rate` in training, and scale the rest by `1 / (1 - rate)`."""

    kind = "dropout"

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"dropout rate must lie in [0, 1), not {rate}")
        self.rate = rate

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        if not context.training:
            return x, None
        u = context.generator().random(x.shape, dtype=np.float32)
        return activation.dropout_forward(x, u, self.rate, context.new)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return (grad_y if cache is None else activation.dropout_backward(grad_y, cache, context.new)), ()


class Flatten(Layer):
    """`(C, H, W, N)` to `(C H W, N)`: the same memory under another shape."""

    kind = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return x.reshape(-1, x.shape[-1]), x.shape

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return grad_y.reshape(cache), ()


class _Pool(Layer):
    releases_input = True

    def __init__(self, size: int = 2, stride: int | None = None) -> None:
        stride = size if stride is None else stride
        if not 1 <= size <= 16 or stride < 1:
            raise ValueError(f"pooling takes a window of 1 to 16 and a stride >= 1, not {size} and {stride}")
        self.size, self.stride = size, stride

    def output_shape(self, shape: Shape) -> Shape:
        fits = len(shape) == 3 and min(shape[1:]) >= self.size
        self.check(fits, shape, f"(channels, height, width) of at least {self.size} x {self.size}")
        return shape[0], *((side - self.size) // self.stride + 1 for side in shape[1:])


class MaxPool2d(_Pool):
    """The maximum of every window of `size` x `size`, every `stride` (default: size) pixels."""

    kind = "maxpool"

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        y, winner = pool.maxpool_forward(x, self.size, self.stride, context.new)
        return y, (winner, x.shape)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        winner, x_shape = cache
        return pool.maxpool_backward(grad_y, winner, x_shape, self.size, self.stride, context.new), ()


class AvgPool2d(_Pool):
    """The mean of every window of `size` x `size`, every `stride` (default: size) pixels."""

    kind = "avgpool"

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return pool.avgpool_forward(x, self.size, self.stride), x.shape

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return pool.avgpool_backward(grad_y, cache, self.size, self.stride), ()


class Standardise(Layer):
    """`y = (x / 255 - mean) / std` per channel: pixels in 0..255, uint8 or float, become the network's floats.

    It is part of the network, so a saved model takes raw images and a data set is never copied to floats.
    """

    kind = "standardise"

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len(mean) != len(std) or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
            raise ValueError(f"a mean and a positive std per channel are needed, not {mean} and {std}")
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        self.dtype = np.dtype(np.float32)

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "std": self.std}

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype)

    def output_shape(self, shape: Shape) -> Shape:
        self.check(shape[0] == len(self.mean), shape, f"{len(self.mean)} channels")
        return shape

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        column = (-1,) + (1,) * (x.ndim - 1)
        factor = (1 / (255 * self.std)).astype(self.dtype).reshape(column)
        y = np.multiply(x, factor, out=context.new.output(x.shape, self.dtype))
        y -= (self.mean / self.std).astype(self.dtype).reshape(column)
        return y, factor

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return grad_y * cache, ()
