"""The models of the experiments, by name."""

from collections.abc import Callable, Sequence

import numpy as np

from npl0.config import suggest
from npl0.nn.conv import Algorithm, Conv2d
from npl0.nn.layers import Flatten, Linear, MaxPool2d, ReLU, Shape, Standardise
from npl0.nn.network import SHARD_SIZE, Network

MNIST_SHAPE: Shape = (1, 28, 28)


def build_lenet300(
    mean: Sequence[float] = (0.1307,),
    std: Sequence[float] = (0.3081,),
    seed: int = 0,
    dtype: type = np.float32,
    shard_size: int = SHARD_SIZE,
    conv: Algorithm = "auto",
) -> Network:
    """LeNet-300-100 (LeCun et al. 1998): 784-300-100-10, ReLU, 266,200 weights. `conv` has nothing to choose here."""
    layers = [
        Standardise(tuple(mean), tuple(std)),
        Flatten(),
        Linear(784, 300),
        ReLU(),
        Linear(300, 100),
        ReLU(),
        Linear(100, 10),
    ]
    return Network(layers, MNIST_SHAPE, "lenet300", seed, dtype, shard_size)


def build_lenet5(
    mean: Sequence[float] = (0.1307,),
    std: Sequence[float] = (0.3081,),
    seed: int = 0,
    dtype: type = np.float32,
    shard_size: int = SHARD_SIZE,
    conv: Algorithm = "auto",
) -> Network:
    """LeNet-5 in the form that came with Caffe: 20 and 50 filters of 5 x 5, 500 hidden units; 430,500 weights.

    ReLU stands after the pooling: the two commute, and after it there are four times fewer values.
    """
    layers = [
        Standardise(tuple(mean), tuple(std)),
        Conv2d(1, 20, 5, algorithm=conv),
        MaxPool2d(2),
        ReLU(),
        Conv2d(20, 50, 5, algorithm=conv),
        MaxPool2d(2),
        ReLU(),
        Flatten(),
        Linear(800, 500),
        ReLU(),
        Linear(500, 10),
    ]
    return Network(layers, MNIST_SHAPE, "lenet5", seed, dtype, shard_size)


MODELS: dict[str, Callable[..., Network]] = {"lenet5": build_lenet5, "lenet300": build_lenet300}


def build_model(name: str, **settings) -> Network:
    """Build a model by name; ValueError names the nearest known one."""
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown: {suggest(name, MODELS)}")
    return MODELS[name](**settings)
