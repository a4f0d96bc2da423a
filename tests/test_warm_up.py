"""What is compiled before a training starts."""

import numpy as np

from npl0 import nn
from npl0.ops import gated_weight, norm, pool, update, winograd3x3
from npl0.warm_up import compile_kernels


def test_warming_up_compiles_the_float32_kernels_and_leaves_the_network_alone():
    network = nn.build_model("vgg16", width=1 / 16)
    before = {name: array.copy() for name, array in network.state().items()}
    compile_kernels(network)
    of_layers = (pool.maxpool_2x2_kernel, norm.batchnorm_kernel, winograd3x3.to_points_kernel)
    for kernel in (*of_layers, gated_weight.gated_weight_kernel, update.adam_kernel, update.sgd_kernel):
        assert any("float32" in str(signature) for signature in kernel.signatures)
    for name, array in network.state().items():
        np.testing.assert_array_equal(array, before[name])
    assert not any(parameter.grad.any() for parameter in network.parameters)
