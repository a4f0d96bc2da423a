"""The kernels are compiled before a training starts."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from npl0 import nn
from npl0.runs.compile import compile_kernels

ROOT = Path(__file__).parents[2]

# In a process of its own: in this one other tests have called the kernels.
NOTHING_IS_LEFT_TO_COMPILE = """
import numpy as np
from npl0 import L0, fit, nn
from npl0.ops import conv, gated_weight, norm, pool, update, winograd3x3
from npl0.runs.compile import compile_kernels

kernels = [
    *(conv.im2col_kernel, pool.maxpool_2x2_kernel, pool.maxpool_backward_kernel),
    *(norm.batchnorm_kernel, norm.batchnorm_backward_kernel),
    *(winograd3x3.to_points_kernel, winograd3x3.from_points_kernel),
    *(gated_weight.gated_weight_kernel, gated_weight.gated_weight_backward_kernel),
    *(update.adam_kernel, update.sgd_kernel),
]
assert not any(kernel.signatures for kernel in kernels)
network = nn.build_model("vgg16", width=1 / 16)
compile_kernels(network)
compiled = [list(kernel.signatures) for kernel in kernels]
for kernel, signatures in zip(kernels, compiled):
    assert any("float32" in str(signature) for signature in signatures), kernel
images, labels = np.zeros((5, 3, 32, 32), np.uint8), np.zeros(5, int)
fit(network, images, labels, L0(network), epochs=1, optimizer="sgd", quiet=True)
fit(network, images, labels, epochs=1, quiet=True)
assert [kernel.signatures for kernel in kernels] == compiled
"""


def test_a_training_finds_its_kernels_compiled():
    command = [sys.executable, "-c", NOTHING_IS_LEFT_TO_COMPILE]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize(("name", "width"), [("vgg16", 1 / 16), ("lenet5", 1)])
def test_compiling_leaves_the_network_as_it_was(name, width):
    network = nn.build_model(name, width=width)
    before = {name: array.copy() for name, array in network.state().items()}
    compile_kernels(network)
    for name, array in network.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_compiling_takes_no_memory_but_what_training_will_use():
    # Scratch arrays are mapped, and not among those that Python counts; Winograd's filters alone would be 15 MB.
    compile_kernels(nn.build_model("vgg16", width=0.25))
    network = nn.build_model("vgg16", width=0.25)
    tracemalloc.start()
    compile_kernels(network)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
