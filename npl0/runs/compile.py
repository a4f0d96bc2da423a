"""Compile, or load from Numba's cache, every kernel that the training of a network uses."""

import numpy as np

from npl0.nn.network import Network
from npl0.ops import gated_weight, update
from npl0.runtime.threads import Workers


def compile_kernels(network: Network) -> None:
    """Call every kernel once, those of the layers by a training step on two black images.

    Compiling takes some seconds the first time on a machine. The step uses the memory that training will use; the
    statistics of batch norm are restored after it, and the gradients it leaves are overwritten by the next step.
    """
    buffers = [array for layer in network.layers for array in layer.buffers.values()]
    before = [array.copy() for array in buffers]
    with Workers(1) as workers:
        network.loss_and_gradients(np.zeros((2, *network.input_shape)), np.zeros(2, int), workers, (0,))
    for array, values in zip(buffers, before, strict=True):
        array[...] = values
    a, b, c, d, e, f = np.ones((6, 1), network.dtype)
    one = network.dtype.type(1)
    gated_weight.gated_weight(a, b, c, d, e)
    gated_weight.gated_weight_backward(a, b, c, d, 1.0, e, f)
    update.adam_kernel(a, b, c, d, one, one, one, one, one, one)
    update.sgd_kernel(a, b, c, one, one, one, True)
