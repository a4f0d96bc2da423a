"""The convolution layer."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npl0.declare import suggest
from npl0.nn.base import Context, Shape, whole
from npl0.nn.layers import Affine
from npl0.ops import conv, winograd, winograd3x3
from npl0.runtime.scratch import Allocator, fresh

ALGORITHMS = ("auto", "im2col", "winograd")
# For fewer output pixels of a channel in a whole prediction, transforming the weights takes longer than im2col.
FEW_PIXELS = 512


class Conv2d(Affine):
    """A convolution with a square kernel, for x of shape (in_channels, H, W, N).

    Parameters
    ----------
    in_channels, out_channels, kernel_size : the weight has shape (out_channels, in_channels, kernel_size, kernel_size).
    stride, padding : in pixels.
    algorithm : `im2col`, `winograd`, or `auto`, which chooses by the shapes (see `winograd_tile`).
    bias : whether to add a bias per channel. Before a batch norm, which subtracts the mean, it has no effect.
    """

    kind = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        algorithm: str = "auto",
        bias: bool = True,
    ) -> None:
        self.in_channels, self.out_channels, self.kernel_size, self.stride = whole(
            "Conv2d", 1, in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride
        )
        (self.padding,) = whole("Conv2d", 0, padding=padding)
        if algorithm not in ALGORITHMS:
            raise ValueError(f"Conv2d: algorithm {algorithm!r} is unknown: {suggest(str(algorithm), ALGORITHMS)}")
        super().__init__((self.out_channels, self.in_channels, self.kernel_size, self.kernel_size), bias)
        self.algorithm, self.tile = algorithm, 0

    def output_shape(self, shape: Shape) -> Shape:
        k = self.kernel_size
        fits = len(shape) == 3 and shape[0] == self.in_channels and min(shape[1:]) + 2 * self.padding >= k
        self.check(fits, shape, f"({self.in_channels}, height, width) that holds a {k} x {k} kernel")
        return self.out_channels, *(conv.out_size(side, k, self.stride, self.padding) for side in shape[1:])

    def bind(self, shape: Shape) -> None:
        sides, r = self.output_shape(shape)[1:], self.kernel_size
        m, self.pixels = self.winograd_tile(sides), math.prod(sides)
        self.tile, self.algorithm_used = m, f"winograd F({m}x{m},{r}x{r})" if m else "im2col"

    def winograd_tile(self, out_sides: Sequence[int]) -> int:
        """Return m of the F(m x m, r x r) to use, or 0 for im2col.

        The rule of `auto` was measured (`experiments/bench_conv.py`): the multiplications that Winograd saves pay for
        its transforms from 8 input channels on for m = 4, with kernels of 3 x 3 and 5 x 5 alike, and from 32 for m = 2.
        """
        tiles = [m for m in (4, 2) if winograd.supports(self.kernel_size, self.stride, m)]
        tile = next((m for m in tiles if not any(side % m for side in out_sides)), 0)
        if self.algorithm == "winograd" and not tile:
            raise ValueError(
                f"{self.name or self.kind} cannot use winograd: it needs stride 1, even output sides and a kernel of "
                f"2 to 7, and has stride {self.stride}, {out_sides[0]} x {out_sides[1]}, {self.kernel_size}; use 'auto'"
            )
        pays = self.in_channels >= {4: 8, 2: 32, 0: 0}[tile]
        return tile if self.algorithm == "winograd" or (self.algorithm == "auto" and pays) else 0

    def macs(self, shape: Shape) -> int:
        return self.weight.size * math.prod(self.output_shape(shape)[1:])

    def prepare(self, new: Allocator = fresh, examples: int | None = None) -> Any:
        few = examples is not None and examples * self.pixels < FEW_PIXELS and self.algorithm == "auto"
        return None if few or not self.tile else winograd.transform_weight(self.weight.value, self.tile, new)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        bias = None if self.bias is None else self.bias.value
        if context.prepared is not None:
            ops = winograd3x3 if self.kernel_size == 3 else winograd
            y, kept = ops.conv2d_forward(x, context.prepared, bias, self.tile, self.padding, context.new)
        else:
            y, kept = conv.conv2d_forward(x, self.weight.value, bias, self.stride, self.padding, context.new)
        return y, (kept, x.shape)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        (kept, x_shape), rest = cache, (self.padding, need_grad_x, context.new)
        if self.tile:
            ops = winograd3x3 if self.kernel_size == 3 else winograd
            grad_x, grad_w = ops.conv2d_backward(grad_y, kept, context.prepared, self.tile, x_shape, *rest)
        else:
            grad_x, grad_w = conv.conv2d_backward(grad_y, kept, self.weight.value, x_shape, self.stride, *rest)
        return grad_x, self.gradients(grad_y, grad_w)
