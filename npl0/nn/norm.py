"""The batch-normalisation layer."""

import math
from typing import Any

import numpy as np

from npl0.nn.base import Context, Layer, Shape, whole
from npl0.nn.parameter import Parameter
from npl0.ops import norm


class BatchNorm(Layer):
    """Batch normalisation, for x of shape (features, N) or (channels, H, W, N).

    In training, each shard is normalised by its own mean and variance. The running averages take one step per
    mini-batch: `running = (1 - momentum) running + momentum statistic`, with mean and variance of the whole mini-batch.

    Differs: Ioffe & Szegedy 2015 normalise over the mini-batch. Over parts of it, as in data-parallel training, it is
    ghost batch normalisation (Hoffer et al. 2017, algorithm 1); the size of the parts is the network's `shard_size`.

    Parameters
    ----------
    features : the length of the first axis of x.
    momentum : the weight of a new statistic in the running averages, in (0, 1].
    """

    kind = "bn"

    def __init__(self, features: int, momentum: float = 0.1) -> None:
        (self.features,) = whole("BatchNorm", 1, features=features)
        if not 0 < momentum <= 1:
            raise ValueError(f"BatchNorm: momentum must lie in (0, 1], not {momentum}")
        self.momentum = float(momentum)
        self.initialise(None, np.dtype(np.float32))

    def initialise(self, generator: np.random.Generator | None, dtype: np.dtype) -> None:
        self.scale = Parameter(np.ones(self.features, dtype), "scale")
        self.shift = Parameter(np.zeros(self.features, dtype), "shift")
        self.running_mean, self.running_var = np.zeros(self.features, dtype), np.ones(self.features, dtype)

    def bind(self, shape: Shape) -> None:
        # A single value has no variance, so a feature with one value per image needs two images.
        self.min_examples = 2 if math.prod(shape[1:]) == 1 else 1

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.scale, self.shift

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        return {"running_mean": self.running_mean, "running_var": self.running_var}

    def output_shape(self, shape: Shape) -> Shape:
        self.check(shape[0] == self.features, shape, f"({self.features}, ...)")
        return shape

    def merge_statistics(self, caches: list[Any]) -> None:
        mean, var = norm.pooled_statistics([statistics for _, statistics in caches])
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (var - self.running_var)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        scale, shift = self.scale.value, self.shift.value
        if not context.training:
            return norm.batchnorm_inference(x, scale, shift, self.running_mean, self.running_var, new=context.new), None
        y, cache, statistics = norm.batchnorm_forward(x, scale, shift, new=context.new)
        return y, (cache, statistics)

    def backward(self, grad_y, cache, context, need_grad_x=True):
        grad_x, *grads = norm.batchnorm_backward(grad_y, cache[0], self.scale.value, context.new)
        return grad_x, tuple(grads)
