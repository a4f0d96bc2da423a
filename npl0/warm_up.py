"""Compile, or load from Numba's cache, every kernel that the training of a network uses."""

import numpy as np

from npl0.nn.layers import Pass
from npl0.nn.network import Network
from npl0.ops import gated_weight, update


def compile_kernels(network: Network) -> None:
    """Call every kernel once, those of the layers by a step on two black images; slow only the first time on a machine.

    The network is not changed: what the step measures and its gradients are dropped.
    """
    passes = [Pass(True, prepared=layer.prepare(), generator=np.random.default_rng) for layer in network.layers]
    logits, caches = network.forward(np.zeros((*network.input_shape, 2), network.dtype), passes)
    network.backward(np.zeros_like(logits), caches, passes)
    a, b, c, d, e, f = np.ones((6, 1), network.dtype)
    one = network.dtype.type(1)
    gated_weight.gated_weight(a, b, c, d, e)
    gated_weight.gated_weight_backward(a, b, c, d, 1.0, e, f)
    update.adam_kernel(a, b, c, d, one, one, one, one, one, one)
    update.sgd_kernel(a, b, c, one, one, one, True)
