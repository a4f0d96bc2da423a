"""Which inputs the kept weights of a network still read."""

import numpy as np

from npl0.nn.base import Context
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter

# They pass on each number where it stands.
_ELEMENTWISE = (Standardise, ReLU, Dropout, BatchNorm)


def count_reads(network: Network) -> np.ndarray | None:
    """Count how often each input is read on paths of kept weights to a class: at how many places by first weights.

    A twin of the network has 1 for every kept weight, no biases, and the mean for the maximum. With all ones as the
    gradient of its classes, the gradients are sums of paths in which nothing cancels: one is above 0 exactly where a
    path leads to a class.

    Returns float64 of the input's shape; None if the network has layers that are not of `npl0.nn`.
    """
    x, twins = np.ones((*network.input_shape, 1)), []
    for layer in network.layers:
        if type(layer) in _ELEMENTWISE:
            continue
        if type(layer) is Conv2d:
            sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
            twin = Conv2d(*sizes, algorithm="im2col", bias=False)
        elif type(layer) is Linear:
            twin = Linear(layer.in_features, layer.out_features, bias=False)
        elif type(layer) in (MaxPool2d, AvgPool2d):
            twin = AvgPool2d(layer.size, layer.stride)
        elif type(layer) is Flatten:
            twin = Flatten()
        else:
            return None
        if type(layer) in (Conv2d, Linear):
            twin.weight = Parameter((layer.weight.value != 0).astype(np.float64), "weight")
        x, cache = twin.forward(x, Context())
        twins.append((twin, cache))
    grad = np.ones_like(x)
    for twin, cache in reversed(twins):
        # Only where it is above 0 matters; ones keep the sums over a deep network from overflowing.
        grad, _ = twin.backward((grad > 0).astype(np.float64), cache, Context(), True)
    return grad[..., 0]
