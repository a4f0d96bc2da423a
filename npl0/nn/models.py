"""The models of the experiments, by name."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from npl0.nn.conv import Algorithm, Conv2d
from npl0.nn.layers import Flatten, Layer, Linear, MaxPool2d, ReLU, Shape, Standardise
from npl0.nn.network import SHARD_SIZE, Network
from npl0.nn.norm import BatchNorm
from npl0.runtime.settings import suggest

SCALABLE_MODELS = ("vgg16",)

MNIST_SHAPE: Shape = (1, 28, 28)
CIFAR10_SHAPE: Shape = (3, 32, 32)
CLASSES = 10

# Channels of the 13 convolutions (Simonyan & Zisserman 2015, table 1, configuration D); a pooling ends each group.
VGG16_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def build_lenet300(
    mean: Sequence[float] = (0.1307,),
    std: Sequence[float] = (0.3081,),
    seed: int | None = 0,
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
        Linear(100, CLASSES),
    ]
    return Network(layers, MNIST_SHAPE, "lenet300", seed, dtype, shard_size)


def build_lenet5(
    mean: Sequence[float] = (0.1307,),
    std: Sequence[float] = (0.3081,),
    seed: int | None = 0,
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
        Linear(500, CLASSES),
    ]
    return Network(layers, MNIST_SHAPE, "lenet5", seed, dtype, shard_size)


def build_vgg16(
    mean: Sequence[float] = (0.4914, 0.4822, 0.4465),
    std: Sequence[float] = (0.2470, 0.2435, 0.2616),
    seed: int | None = 0,
    dtype: type = np.float32,
    shard_size: int = SHARD_SIZE,
    conv: Algorithm = "auto",
    width: float = 1.0,
) -> Network:
    """VGG-16 for CIFAR-10: 13 convolutions of 3 x 3 and one hidden layer, each with batch norm; 14,977,728 weights.

    Differs: the original's two hidden layers of 4,096 units, for images of 224 x 224, are one of 512 here, and there is
    batch norm in dropout's place, as is usual for CIFAR-10. A layer before a batch norm has no bias. ReLU stands after
    the pooling, with which it commutes; batch norm does not, for its scale may be negative.

    Parameters
    ----------
    width : factor on the channels of the convolutions and on the hidden units, rounded to whole ones.

    Raises
    ------
    ValueError
        If the width leaves a layer without channels.
    """
    if not 1 / 128 < width < math.inf:
        raise ValueError(
            f"width = {width:g} leaves conv1 no channel of its {VGG16_GROUPS[0][0]}: a width must be finite and above "
            "1/128 = 0.0078125"
        )
    layers: list[Layer] = [Standardise(tuple(mean), tuple(std))]
    channels = len(mean)
    for group in VGG16_GROUPS:
        for full in group:
            inputs, channels = channels, round(width * full)
            layers += [Conv2d(inputs, channels, 3, padding=1, algorithm=conv, bias=False), BatchNorm(channels), ReLU()]
        layers.insert(-1, MaxPool2d(2))
    # Five poolings leave one pixel of 32 x 32, so the channels are the inputs of the hidden layer, and as many.
    layers += [
        Flatten(),
        Linear(channels, channels, bias=False),
        BatchNorm(channels),
        ReLU(),
        Linear(channels, CLASSES),
    ]
    return Network(layers, CIFAR10_SHAPE, "vgg16", seed, dtype, shard_size)


MODELS: dict[str, Callable[..., Network]] = {"lenet5": build_lenet5, "lenet300": build_lenet300, "vgg16": build_vgg16}
# What they take, known before anything is built.
INPUT_SHAPES: dict[str, Shape] = {"lenet5": MNIST_SHAPE, "lenet300": MNIST_SHAPE, "vgg16": CIFAR10_SHAPE}


def build_model(name: str, width: float = 1.0, **settings) -> Network:
    """Build a model by name.

    Parameters
    ----------
    name : one of `MODELS`; width : factor on the channels of a model that can be scaled; settings : of its function.

    Raises
    ------
    ValueError
        If there is no such model (the nearest is named), or it has not this width.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown: {suggest(name, MODELS)}")
    if name in SCALABLE_MODELS:
        return MODELS[name](width=width, **settings)
    if width != 1:
        raise ValueError(
            f"width = {width:g} is for {', '.join(SCALABLE_MODELS)}; {name} has one size: leave width at 1"
        )
    return MODELS[name](**settings)
