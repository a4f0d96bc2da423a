"""Remove the filters and units of a pruned network that do nothing: the same function in smaller arrays.

A unit without kept weights is a constant: its bias, as ReLU, pooling and the like make of it. Whoever reads it can add
the constant to its own bias, once:

    W x + b = W' x' + b'    where x' = x without the constants c,    b' = b + sum of W[:, j] c_j over the constants

(over the taps of the kernel too). Then no weight reads the unit, and a unit that no weight reads can go. This is exact
with one exception: a padded convolution sees zeros beside the constant at the border, so that what it reads there is
not constant. Such a unit stays, unless its constant is 0.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from npl0.nn.base import Context, Layer, Shape
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter
from npl0.sparse.fold import fold_batchnorm

# Layers that treat each channel alone and make a constant of a constant.
_CHANNELWISE = (ReLU, Dropout, MaxPool2d, AvgPool2d, BatchNorm)


def compact(network: Network) -> Network:
    """Return a smaller network that computes the same, up to rounding, without what pruning made useless.

    Filters and units go that no weight reads or that read nothing; batch norms are folded (`fold_batchnorm`). Inputs
    and classes stay, and so does every channel that the first linear layer reads at some pixel, with all its pixels.
    A layer that is not of `npl0.nn` is taken to read all its inputs.

    The result is a network like any other, with dense arrays, in which the zeros that are left stay where they are. To
    train it on, hold them: `FixedMask(small, masks_of(small))`.
    """
    network = fold_batchnorm(network)
    shapes = [network.input_shape]
    for layer in network.layers:
        shapes.append(layer.output_shape(shapes[-1]))
    _absorb_constants(network, shapes)
    return select_outputs(network, [np.flatnonzero(read) for read in _read_outputs(network, shapes)])


def select_outputs(network: Network, outputs: Sequence[np.ndarray]) -> Network:
    """Return a copy of a network with these outputs of each convolution and linear layer, in this order.

    `outputs` holds the numbers of the outputs, an array for each layer of the network; those of other layers are not
    read. All inputs of a layer that is not of `npl0.nn` must be selected, in their order.
    """
    shape, layers = network.input_shape, []
    kept = np.arange(shape[0])
    for layer, selected in zip(network.layers, outputs, strict=True):
        layers.append(_restricted(layer, kept, selected))
        before, shape = shape, layer.output_shape(shape)
        if type(layer) in (Conv2d, Linear):
            kept = selected
        elif type(layer) is Flatten:
            area = math.prod(before[1:])
            kept = (kept[:, None] * area + np.arange(area)).ravel()
        elif type(layer) not in _CHANNELWISE:
            kept = np.arange(shape[0])
    return Network(layers, network.input_shape, network.name, None, network.dtype, network.shard_size)


def _absorb_constants(network: Network, shapes: list[Shape]) -> None:
    """Move constant inputs into the bias of the layer that reads them, and clear the weights that read them."""
    # One value per channel; NaN where a channel is not constant.
    constant = np.full(shapes[0][0], np.nan)
    for layer, shape in zip(network.layers, shapes, strict=False):
        if type(layer) in (Conv2d, Linear):
            known = constant == 0 if getattr(layer, "padding", 0) else ~np.isnan(constant)
            weight = layer.weight.value.reshape(*layer.weight.value.shape[:2], -1)
            moved = weight[:, known].sum(axis=2, dtype=np.float64) @ constant[known]
            if layer.bias is None:
                layer.bias = Parameter(np.zeros(len(weight), network.dtype), "bias")
            layer.bias.value += moved.astype(network.dtype)
            weight[:, known] = 0
            constant = np.where(weight.any(axis=(1, 2)), np.nan, layer.bias.value)
        elif type(layer) is Flatten:
            constant = np.repeat(constant, math.prod(shape[1:]))
        elif type(layer) in _CHANNELWISE:
            # The layer itself computes what becomes of the constants.
            x = np.empty((*shape, 1), network.dtype)
            x[...] = constant.reshape(-1, *[1] * len(shape))
            constant = layer.forward(x, Context())[0].reshape(len(constant), -1)[:, 0]
        else:
            constant = np.full(layer.output_shape(shape)[0], np.nan)


def _read_outputs(network: Network, shapes: list[Shape]) -> list[np.ndarray]:
    """Return, layer by layer, which of its output channels are read on the way to the classes."""
    read, outputs = np.ones(shapes[-1][0], bool), []
    for layer, shape in zip(reversed(network.layers), reversed(shapes[:-1]), strict=True):
        if not read.any():
            read[0] = True  # a layer needs an output
        outputs.append(read)
        if type(layer) in (Conv2d, Linear):
            read = layer.weight.value[read].reshape(read.sum(), shape[0], -1).any(axis=(0, 2))
        elif type(layer) is Flatten:
            read = read.reshape(shape[0], -1).any(axis=1)
        elif type(layer) not in _CHANNELWISE:
            read = np.ones(shape[0], bool)
    return outputs[::-1]


def _restricted(layer: Layer, inputs: np.ndarray, outputs: np.ndarray) -> Layer:
    """Return a copy of a layer with the inputs and outputs of these numbers."""
    copy = deepcopy(layer)
    copy.name = ""
    if isinstance(copy, Conv2d):
        copy.in_channels, copy.out_channels = len(inputs), len(outputs)
    elif isinstance(copy, Linear):
        copy.in_features, copy.out_features = len(inputs), len(outputs)
    elif isinstance(copy, BatchNorm):
        copy.features = len(inputs)
        copy.running_mean, copy.running_var = copy.running_mean[inputs], copy.running_var[inputs]
        for parameter in ("scale", "shift"):
            setattr(copy, parameter, Parameter(getattr(copy, parameter).value[inputs], parameter))
    if isinstance(copy, Affine):
        copy.weight = Parameter(np.ascontiguousarray(layer.weight.value[outputs][:, inputs]), "weight")
        copy.bias = layer.bias and Parameter(layer.bias.value[outputs], "bias")
    return copy
