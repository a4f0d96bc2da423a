"""Which inputs the kept weights of a network still read."""

from copy import copy

import numpy as np

from npl0.nn.base import Context
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter


def count_reads(network: Network) -> np.ndarray | None:
    """Count how often each input is read on paths of kept weights to a class: at how many places by first weights.

    A twin of the network has 1 for every kept weight, no biases, and the mean for the maximum. With all ones as the
    gradient of its classes, the gradients are sums of paths in which nothing cancels: one is above 0 exactly where a
    path leads to a class. None if the network has layers that are not of `npl0.nn`.
    """
    x, passed = np.ones((*network.input_shape, 1)), []
    for layer in network.layers:
        if type(layer) in (Standardise, ReLU, Dropout, BatchNorm):
            continue  # each number stays where it stands
        if type(layer) not in (Conv2d, Linear, MaxPool2d, AvgPool2d, Flatten):
            return None
        twin = AvgPool2d(layer.size, layer.stride) if type(layer) is MaxPool2d else copy(layer)
        if type(twin) in (Conv2d, Linear):
            twin.weight, twin.bias = Parameter((layer.weight.value != 0).astype(np.float64), "weight"), None
        if type(twin) is Conv2d:
            twin.tile = 0  # im2col, in which nothing cancels
        x, cache = twin.forward(x, Context())
        passed.append((twin, cache))
    grad = np.ones_like(x)
    for twin, cache in reversed(passed):
        # Only where it is above 0 matters; ones keep the sums over a deep network from overflowing.
        grad, _ = twin.backward((grad > 0).astype(np.float64), cache, Context(), True)
    return grad[..., 0]
