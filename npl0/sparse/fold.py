"""Fold batch norm into the layer before it, for inference.

With its running statistics, a batch norm multiplies each feature by `factor = scale / sqrt(running_var + eps)` and adds
a constant. Behind a linear map, it can be merged into the map:

    scale (W x + b - running_mean) / sqrt(running_var + eps) + shift = W' x + b'
    W' = factor W (one factor per output),    b' = shift + (b - running_mean) factor
"""

from copy import deepcopy

import numpy as np

from npl0.nn.base import Layer
from npl0.nn.layers import Affine
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter
from npl0.ops.norm import EPSILON


def fold_batchnorm(network: Network) -> Network:
    """Return a copy of a network in which each batch norm directly behind a `Conv2d` or `Linear` is part of that layer.

    It predicts the same up to rounding, and weights that are 0 stay 0. Other batch norms stay. Use it for inference
    only: in training, the normalisation would be missing.
    """
    layers: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, BatchNorm) and layers and isinstance(layers[-1], Affine):
            _fold(layer, layers[-1])
        else:
            layers.append(deepcopy(layer))
            layers[-1].name = ""
    return Network(layers, network.input_shape, network.name, None, network.dtype, network.shard_size)


def _fold(norm: BatchNorm, layer: Affine) -> None:
    factor = norm.scale.value / np.sqrt(norm.running_var + EPSILON)
    bias = 0 if layer.bias is None else layer.bias.value
    layer.weight.value *= factor.reshape(-1, *[1] * (layer.weight.value.ndim - 1))
    layer.bias = Parameter(norm.shift.value + (bias - norm.running_mean) * factor, "bias")
