"""The batch-normalisation layer."""

import math
from typing import Any

import numpy as np

from npl0.nn.layers import Context, Layer, Shape
from npl0.nn.parameter import Parameter
from npl0.ops import norm


class BatchNorm(Layer):
    """Batch normalisation of `(features, N)` or `(channels, H, W, N)`.

    In training each shard is normalised by its own statistics, as data-parallel training does; the running averages
    take them in shard order: `running = (1 - momentum) running + momentum statistic`.

    Parameters
    ----------
    features : length of the first axis; momentum : weight of a new statistic, in (0, 1].
    """

    kind = "bn"

    def __init__(self, features: int, momentum: float = 0.1) -> None:
        if features < 1 or not 0 < momentum <= 1:
            raise ValueError(f"BatchNorm needs features >= 1, momentum in (0, 1], not {features}, {momentum}")
        self.momentum = momentum
        self.scale = Parameter(np.ones(features, np.float32), "scale")
        self.shift = Parameter(np.zeros(features, np.float32), "shift")
        self.running_mean = np.zeros(features, np.float32)
        self.running_var = np.ones(features, np.float32)

    def bind(self, shape: Shape) -> None:
        # One value has no variance, so where a feature has a single value an image, one image is not enough.
        self.min_examples = 2 if math.prod(shape[1:]) == 1 else 1

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.scale, self.shift

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        return {"running_mean": self.running_mean, "running_var": self.running_var}

    def initialise(self, generator: np.random.Generator, dtype: np.dtype) -> None:
        features = self.scale.size
        self.scale.value, self.shift.value = np.ones(features, dtype), np.zeros(features, dtype)
        self.running_mean, self.running_var = np.zeros(features, dtype), np.ones(features, dtype)

    def output_shape(self, shape: Shape) -> Shape:
        self.check(shape[0] == self.scale.size, shape, f"{self.scale.size} features or channels")
        return shape

    def merge_statistics(self, caches: list[Any]) -> None:
        for _, (mean, var) in caches:
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (var - self.running_var)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        scale, shift = self.scale.value, self.shift.value
        if not context.training:
            mean, var = self.running_mean, self.running_var
            return norm.batchnorm_inference(x, scale, shift, mean, var, new=context.new), None
        y, cache, statistics = norm.batchnorm_forward(x, scale, shift, new=context.new)
        return y, (cache, statistics)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        grad_x, *grads = norm.batchnorm_backward(grad_y, cache[0], self.scale.value, context.new)
        return grad_x, tuple(grads)
