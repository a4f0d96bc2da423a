"""The models by name. To add one, write a function that returns its layers, and an entry in `MODELS`.

Reading the table loads no NumPy, because `nn` is lazy and loads the layers when a model is built.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise

from npl0 import nn
from npl0.declare import suggest

Shape = tuple[int, ...]
Layers = list["nn.Layer"]

# Mean and standard deviation per channel of MNIST and of CIFAR-10, for pixels divided by 255.
_STATISTICS = {1: ((0.1307,), (0.3081,)), 3: ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))}
# Channels of the 13 convolutions (Simonyan & Zisserman 2015, table 1, configuration D); a pooling ends each group.
_VGG16_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@dataclass(frozen=True)
class Model:
    """An entry of `MODELS`: a title for help texts, and the shape of the images that the model is known for.

    `layers(shape=..., classes=..., conv=..., width=...)` returns the layers behind the standardisation, for images of
    this or another shape; `conv` is the algorithm of convolutions, and `width` scales the layers of a `scalable` model.
    """

    title: str
    input_shape: Shape
    layers: Callable[..., Layers]
    scalable: bool = False


def _flat_size(layers: Layers, shape: Shape) -> int:
    return math.prod(reduce(lambda shape, layer: layer.output_shape(shape), layers, shape))


def _perceptron(hidden: Sequence[int], shape: Shape, classes: int, **_) -> Layers:
    layers: Layers = [nn.Flatten()]
    for inputs, outputs in pairwise([math.prod(shape), *hidden]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return [*layers, nn.Linear(hidden[-1], classes)]


def _lenet5(shape: Shape, classes: int, conv: str, **_) -> Layers:
    """20 and 50 filters of 5 x 5 and 500 hidden units: LeNet-5 in the form that came with Caffe.

    ReLU stands behind the pooling: the two commute, and there it has four times fewer values to process.
    """
    layers: Layers = []
    for inputs, outputs in ((shape[0], 20), (20, 50)):
        layers += [nn.Conv2d(inputs, outputs, 5, algorithm=conv), nn.MaxPool2d(2), nn.ReLU()]
    layers.append(nn.Flatten())
    return [*layers, nn.Linear(_flat_size(layers, shape), 500), nn.ReLU(), nn.Linear(500, classes)]


def _vgg16(shape: Shape, classes: int, conv: str, width: float) -> Layers:
    """13 convolutions of 3 x 3 and one hidden layer, each with a batch norm: the usual VGG-16 for CIFAR-10.

    The original, for images of 224 x 224, has two hidden layers of 4,096 units, and dropout. Pooling stands before
    ReLU, with which it commutes, but behind the batch norm, whose scale may be negative.
    """
    if not 1 / 128 < width < math.inf:
        what = f"width = {width:g} leaves conv1 no channel of its {_VGG16_GROUPS[0][0]}"
        raise ValueError(f"{what}: a width must be finite and above 1/128 = 0.0078125")
    layers, channels = [], shape[0]
    for group in _VGG16_GROUPS:
        for full in group:
            inputs, channels = channels, round(width * full)
            # A bias would have no effect: the batch norm subtracts the mean.
            convolution = nn.Conv2d(inputs, channels, 3, padding=1, algorithm=conv, bias=False)
            layers += [convolution, nn.BatchNorm(channels), nn.ReLU()]
        layers.insert(-1, nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    hidden = nn.Linear(_flat_size(layers, shape), channels, bias=False)
    return [*layers, hidden, nn.BatchNorm(channels), nn.ReLU(), nn.Linear(channels, classes)]


MODELS: dict[str, Model] = {
    "lenet5": Model("LeNet-5, 430,500 weights", (1, 28, 28), _lenet5),
    "lenet300": Model("LeNet-300-100, 266,200 weights", (1, 28, 28), partial(_perceptron, (300, 100))),
    "vgg16": Model("VGG-16 for CIFAR-10, 14,977,728 weights", (3, 32, 32), _vgg16, scalable=True),
}


def model_names() -> list[str]:
    """Return the names for help texts; `mlp:300-100` stands for perceptrons of any sizes."""
    return [*MODELS, "mlp:300-100"]


def find_model(name: str) -> Model:
    """Return the model of a name as in `build_model`; ValueError, with the nearest name, if there is none."""
    if name in MODELS:
        return MODELS[name]
    if not name.startswith("mlp:"):
        raise ValueError(f"model {name!r} is unknown: {suggest(name, model_names())}")
    if not re.fullmatch(r"mlp:[1-9][0-9]*(-[1-9][0-9]*)*", name):
        raise ValueError(f"model {name!r} needs the sizes of its hidden layers, each at least 1, as in mlp:300-100")
    hidden = [int(size) for size in name.removeprefix("mlp:").split("-")]
    return Model("a multilayer perceptron", (1, 28, 28), partial(_perceptron, hidden))


def build_model(
    name: str,
    *,
    width: float = 1.0,
    conv: str = "auto",
    input_shape: Shape | None = None,
    classes: int = 10,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = 0,
    dtype: str | type = "float32",
    shard_size: int = 64,
) -> "nn.Network":
    """Build a model by name.

    Parameters
    ----------
    name : a name of `MODELS`, or `mlp:` and the sizes of the hidden layers, as in `mlp:300-100`.
    width : factor on the channels and hidden units of a scalable model; the products are rounded.
    conv : the algorithm of the convolutions: `auto`, `im2col` or `winograd`.
    input_shape, classes : the shape of one image (None: that of the model), and the number of logits.
    mean, std : per channel, of pixels divided by 255; None: MNIST's for one channel, CIFAR-10's for three.
    seed, dtype, shard_size : see `Network`.

    Raises
    ------
    ValueError
        If there is no such model, it has no such width, or it does not take such images.
    """
    model = find_model(name)
    if width != 1 and not model.scalable:
        scalable = ", ".join(name for name, model in MODELS.items() if model.scalable)
        raise ValueError(f"width = {width:g} is for {scalable}; {name} has one size: leave width at 1")
    shape = tuple(input_shape or model.input_shape)
    if mean is None or std is None:
        if shape[0] not in _STATISTICS:
            raise ValueError(f"images of {shape[0]} channels need a mean and a std, of {shape[0]} numbers each")
        default_mean, default_std = _STATISTICS[shape[0]]
        mean, std = default_mean if mean is None else mean, default_std if std is None else std
    try:
        layers = model.layers(shape=shape, classes=classes, conv=conv, width=width)
    except ValueError as error:
        raise ValueError(f"{name} with images of shape {shape}: {error}") from error
    return nn.Network([nn.Standardise(mean, std), *layers], shape, name, seed, dtype, shard_size)


build_lenet5 = partial(build_model, "lenet5")
build_lenet300 = partial(build_model, "lenet300")
build_vgg16 = partial(build_model, "vgg16")
