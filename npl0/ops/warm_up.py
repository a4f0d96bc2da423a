"""Compile, or load from Numba's cache, every kernel that training uses."""

import numpy as np

from npl0.ops import conv, gated_weight, pool, update


def compile_kernels() -> None:
    """Call every kernel once on the smallest float32 arrays; slow only the first time on a machine."""
    x = np.ones((1, 2, 2, 1), np.float32)
    columns = conv.im2col(x, 2, 2)
    conv.col2im(columns, x.shape, 2, 2)
    y, winner = pool.maxpool_forward(x, 2, 2)
    pool.maxpool_kernel(x, 2, 2, y, winner)
    pool.maxpool_backward(y, winner, x.shape, 2, 2)
    a, b, c, d, e, f = np.ones((6, 1), np.float32)
    one = np.float32(1)
    gated_weight.gated_weight(a, b, c, d, e)
    gated_weight.gated_weight_backward(a, b, c, d, 1.0, e, f)
    update.adam_kernel(a, b, c, d, one, one, one, one, one, one)
    update.sgd_kernel(a, b, c, one, one, one, True)
