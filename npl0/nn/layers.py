"""The layers other than convolution and batch norm; each applies an operation of `npl0.ops`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npl0.nn.base import Context, Layer, Shape, whole
from npl0.nn.parameter import Parameter
from npl0.ops import activation, linear, pool


def he_normal(shape: Shape, fan_in: int, generator: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Draw from N(0, 2 / fan_in), which preserves the variance through ReLU layers (He et al. 2015, eq. 10)."""
    values, deviation = np.empty(shape, dtype), math.sqrt(2 / fan_in)
    # Row by row: the draws are float64, and all at once would take twice the memory of the weight.
    for row in values:
        row[...] = generator.standard_normal(row.shape) * deviation
    return values


class Affine(Layer):
    """The base of `Linear` and `Conv2d`: a weight of shape (out, in, ...), and a bias of shape (out,) or None."""

    def __init__(self, shape: Shape, bias: bool) -> None:
        if not isinstance(bias, bool):
            raise ValueError(f"{type(self).__name__}: bias must be true or false, not {bias!r}")
        self.weight = Parameter(np.zeros(shape, np.float32), "weight")
        self.bias = Parameter(np.zeros(shape[0], np.float32), "bias") if bias else None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        shape = self.weight.value.shape
        self.weight = Parameter(he_normal(shape, math.prod(shape[1:]), generator, dtype), "weight")
        if self.bias is not None:
            self.bias = Parameter(np.zeros(shape[0], dtype), "bias")

    def gradients(self, grad_y: np.ndarray, grad_w: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return grad_w and, if there is a bias, grad_b."""
        return (grad_w,) if self.bias is None else (grad_w, linear.bias_backward(grad_y))


class Linear(Affine):
    """`y = W x + b` for x of shape (in_features, N); with `bias=False`, `y = W x`."""

    kind = "fc"

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features, self.out_features = whole("Linear", 1, in_features=in_features, out_features=out_features)
        super().__init__((self.out_features, self.in_features), bias)

    def output_shape(self, shape: Shape) -> Shape:
        self.check(shape == (self.in_features,), shape, f"({self.in_features},)")
        return (self.out_features,)

    def macs(self, shape: Shape) -> int:
        return self.weight.size

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        bias = None if self.bias is None else self.bias.value
        return linear.linear_forward(x, self.weight.value, bias, context.new), x

    def backward(self, grad_y, cache, context, need_grad_x=True):
        grad_x, grad_w = linear.linear_backward(grad_y, cache, self.weight.value, need_grad_x, context.new)
        return grad_x, self.gradients(grad_y, grad_w)


class ReLU(Layer):
    """`y = max(x, 0)`. It overwrites x, which saves an array the size of the network's largest activations."""

    kind = "relu"

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        y = activation.relu_forward(x, out=x)
        return y, y

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return activation.relu_backward(grad_y, cache, context.new), ()


class Dropout(Layer):
    """In training, set each value to zero with probability `rate` and scale the others by `1 / (1 - rate)`."""

    kind = "dropout"

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must lie in [0, 1), not {rate}")
        self.rate = float(rate)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        if not context.training:
            return x, None
        u = context.generator().random(x.shape, dtype=np.float32)
        return activation.dropout_forward(x, u, self.rate, context.new)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return (grad_y if cache is None else activation.dropout_backward(grad_y, cache, context.new)), ()


class Flatten(Layer):
    """Reshape (C, H, W, N) to (C H W, N), without a copy."""

    kind = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return x.reshape(-1, x.shape[-1]), x.shape

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return grad_y.reshape(cache), ()


class _Pool(Layer):
    """The base of pooling over windows of `size` x `size` pixels that start every `stride` (default: size) pixels."""

    releases_input = True

    def __init__(self, size: int = 2, stride: int | None = None) -> None:
        self.size, self.stride = whole(type(self).__name__, 1, size=size, stride=size if stride is None else stride)
        # The kernels number the cells of a window in a byte.
        if self.size > 16:
            raise ValueError(f"{type(self).__name__}: size must be at most 16, not {size}")

    def output_shape(self, shape: Shape) -> Shape:
        fits = len(shape) == 3 and min(shape[1:]) >= self.size
        self.check(fits, shape, f"(channels, height, width), at least {self.size} x {self.size} pixels")
        return shape[0], *((side - self.size) // self.stride + 1 for side in shape[1:])

    def __repr__(self) -> str:
        stride = "" if self.stride == self.size else f", stride={self.stride}"
        return f"{type(self).__name__}({self.size}{stride})"


class MaxPool2d(_Pool):
    """The maximum of each window of `size` x `size` pixels; windows start every `stride` (default: size) pixels."""

    kind = "maxpool"

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        y, winner = pool.maxpool_forward(x, self.size, self.stride, context.new)
        return y, (winner, x.shape)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        winner, x_shape = cache
        return pool.maxpool_backward(grad_y, winner, x_shape, self.size, self.stride, context.new), ()


class AvgPool2d(_Pool):
    """The mean of each window of `size` x `size` pixels; windows start every `stride` (default: size) pixels."""

    kind = "avgpool"

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return pool.avgpool_forward(x, self.size, self.stride), x.shape

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return pool.avgpool_backward(grad_y, cache, self.size, self.stride), ()


class Standardise(Layer):
    """`y = (x / 255 - mean) / std` for pixels of any number type: a stored network takes raw images, in 0..255.

    `mean` and `std`, one number or one per channel, are those of pixels / 255, as `npl0.channel_statistics` returns
    them; ValueError if a mean is not in [0, 1] or a std not in (0, 1], as those of the pixels themselves are not.
    """

    kind = "standardise"

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = mean, std = np.array(mean, np.float64), np.array(std, np.float64)
        fits = mean.shape == std.shape and mean.ndim < 2 and mean.size
        if not (fits and np.all((mean >= 0) & (mean <= 1) & (std > 0) & (std <= 1))):
            what = "each channel needs a mean in 0..1 and a std above 0, at most 1, of its pixels / 255"
            raise ValueError(f"Standardise: {what} (see npl0.channel_statistics), not {mean} and {std}")
        self.dtype = np.dtype(np.float32)

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "std": self.std}

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype)

    def output_shape(self, shape: Shape) -> Shape:
        self.check(self.mean.shape in ((), shape[:1]), shape, f"({self.mean.size}, ...)")
        return shape

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        column = (-1,) + (1,) * (x.ndim - 1)
        factor = (1 / (255 * self.std)).astype(self.dtype).reshape(column)
        y = np.multiply(x, factor, out=context.new.output(x.shape, self.dtype))
        y -= (self.mean / self.std).astype(self.dtype).reshape(column)
        return y, factor

    def backward(self, grad_y, cache, context, need_grad_x=True):
        return grad_y * cache, ()
