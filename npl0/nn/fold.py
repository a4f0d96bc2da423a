"""Batch norm folded into the layer before it, for inference.

By its running statistics a batch norm multiplies each feature by `factor = scale / sqrt(running_var + eps)` and adds a
number, so what stands behind a linear map can be part of that map:

    scale (W x + b - running_mean) / sqrt(running_var + eps) + shift = W' x + b'
    W' = factor W (one factor an output),    b' = shift + (b - running_mean) factor
"""

from copy import deepcopy

import numpy as np

from npl0.nn.layers import Affine, Layer
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter
from npl0.ops.norm import EPSILON


def fold_batchnorm(network: Network) -> Network:
    """Return a network that predicts the same, up to rounding, without the batch norms right behind a linear map.

    Linear maps are `Conv2d` and `Linear`; each gets a bias, and its zeros stay zeros. A batch norm behind another layer
    stays. The new network is for inference: trained on, it would lack the normalisation.

    Parameters
    ----------
    network : it stays as it is, and shares no array with the new one.
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
    layer.weight.value = layer.weight.value * factor.reshape(-1, *[1] * (layer.weight.value.ndim - 1))
    layer.bias = Parameter(norm.shift.value + (bias - norm.running_mean) * factor, "bias")
