"""The list of checks.

A new layer needs an entry in `LAYERS`, a method in `PRUNERS`; anything else, a function from a `Draw` to a problem and
an entry in `CHECKS`. The operations of a layer are checked through it, all others directly.
"""

from functools import partial

import numpy as np

from npl0.gradcheck import problems
from npl0.gradcheck.problems import Check
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.models import build_model
from npl0.nn.norm import BatchNorm
from npl0.ops import hard_concrete as gate
from npl0.ops.winograd3x3 import BLOCK_COLUMNS
from npl0.pruning.base import Pruner
from npl0.pruning.l0 import L0
from npl0.pruning.magnitude import Magnitude
from npl0.training.optimizers import SGD, Adam

IM2COL = partial(Conv2d, 2, 3, algorithm="im2col")
WINOGRAD = partial(Conv2d, 2, 3, algorithm="winograd")
# Kernel size, stride and padding.
CONVOLUTIONS = [(1, 1, 0), (3, 1, 0), (3, 1, 1), (2, 2, 0), (3, 2, 1), (2, 3, 0), (5, 1, 2)]
# Size and stride of the pooling windows: side by side, overlapping, and with gaps.
POOLS = [(2, 2), (3, 2), (2, 3)]

# How to make a layer, the shape of one example and, optionally, the number of examples.
LAYERS = {
    # The weight is square, so that its transpose fits too.
    "Linear": (partial(Linear, 5, 5), (5,)),
    "Linear without bias": (partial(Linear, 5, 4, bias=False), (5,)),
    # Some windows do not reach the last row or column of the 7 x 6 pixels.
    **{f"Conv2d {k}x{k} stride {s} padding {p}": (partial(IM2COL, k, s, p), (2, 7, 6)) for k, s, p in CONVOLUTIONS},
    "Conv2d 3x3 without bias": (partial(IM2COL, 3, 2, 1, bias=False), (2, 6, 5)),
    # Two tiles by one.
    "Conv2d F(4,5) padding 0": (partial(WINOGRAD, 5), (2, 12, 8)),
    "Conv2d F(4,3) padding 0": (partial(WINOGRAD, 3), (2, 10, 6)),
    "Conv2d F(4,3) padding 1": (partial(WINOGRAD, 3, padding=1), (2, 8, 4)),
    "Conv2d F(2,3) padding 1": (partial(WINOGRAD, 3, padding=1), (2, 4, 2)),
    "Conv2d F(2,3) without bias": (partial(WINOGRAD, 3, padding=1, bias=False), (2, 4, 6)),
    # Three rows of one tile, each of which fills half a block: the first block has two rows, the second one.
    "Conv2d F(4,3) in blocks": (partial(WINOGRAD, 3, padding=1), (2, 12, 4), BLOCK_COLUMNS // 2),
    "ReLU": (ReLU, (4, 3)),
    "Dropout": (partial(Dropout, 0.4), (5, 2, 2)),
    "Flatten": (Flatten, (2, 3, 2)),
    **{f"MaxPool2d {k}x{k} stride {s}": (partial(MaxPool2d, k, s), (2, 7, 6)) for k, s in POOLS},
    **{f"AvgPool2d {k}x{k} stride {s}": (partial(AvgPool2d, k, s), (2, 7, 6)) for k, s in POOLS},
    "BatchNorm 1-d": (partial(BatchNorm, 4), (4,)),
    "BatchNorm 2-d": (partial(BatchNorm, 2), (2, 3, 2)),
    "Standardise": (partial(Standardise, (0.4, 0.5), (0.2, 0.3)), (2, 3, 2)),
}

# Elementwise functions, and their derivatives by the output.
GATES = {
    "sample": (partial(gate.sample, u=np.linspace(0.05, 0.95, 60)), gate.gate_backward),
    "P(z > 0)": (gate.open_probability, gate.open_probability_backward),
    **{
        f"test gate, {rule}": (partial(gate.deterministic_gate, rule=rule), partial(gate.gate_backward, temperature=t))
        for rule, t in gate.TEST_GATES.items()
    },
}

# What shares a gate, in the weight of a linear layer and of a convolution.
GATE_SHAPES = ("weight", "filter", "input")
GATED_WEIGHTS = {f"gated weight {w}, one gate per {g}": (w, g) for w in ((4, 5), (3, 2, 2, 2)) for g in GATE_SHAPES}

# How to build a network and, optionally, its pruner and the number of entries to check in each array.
FULL_SIZE = partial(build_model, dtype=float, shard_size=3)
NETWORKS = {
    "small network": (problems.small_network,),
    "small vgg": (problems.small_vgg,),
    "lenet300": (partial(FULL_SIZE, "lenet300"), Pruner, 30),
    "lenet5": (partial(FULL_SIZE, "lenet5"), Pruner, 12),
}

# How to make the pruner of a perceptron. L0 is in the middle of the ramp, with another strength for one layer.
RAMPED_L0 = partial(L0, l0_lambda=3.0, layer_lambda={"fc2": 0.5}, ramp_epochs=3)
WEAK_L0 = partial(RAMPED_L0, l0_lambda=0.3)
PRUNERS = {
    "dense": Pruner,
    "magnitude": Magnitude,
    "fixed mask": problems.half_masked,
    **{f"l0, one gate per {shape}": partial(RAMPED_L0, gate_shape=shape) for shape in GATE_SHAPES},
}

# Rule and weight decay.
OPTIMIZERS = {
    "sgd": (SGD(0.0, False), 0.0),
    "sgd, momentum, decay": (SGD(0.9, False), 0.1),
    "sgd, nesterov, decay": (SGD(0.9, True), 0.1),
    "adam": (Adam(0.8, 0.99), 0.0),
    "adam, decay": (Adam(0.8, 0.99), 0.1),
}

CHECKS = [
    *(Check(name, "layer", problems.layer_problem, layer) for name, layer in LAYERS.items()),
    Check("softmax cross-entropy", "op", problems.loss_problem),
    *(Check(f"hard-concrete {name}", "op", problems.elementwise_problem, case) for name, case in GATES.items()),
    *(Check(name, "op", problems.gated_weight_problem, case) for name, case in GATED_WEIGHTS.items()),
    *(Check(name, "network", problems.network_problem, case) for name, case in NETWORKS.items()),
    *(Check(name, "pruner", problems.network_problem, (problems.perceptron, make)) for name, make in PRUNERS.items()),
    Check(
        *("fixed mask, kept weights alone", "pruner", problems.network_problem),
        (problems.small_network, problems.sparse_masked),
    ),
    Check("l0 on the small vgg", "pruner", problems.network_problem, (problems.small_vgg, WEAK_L0)),
    *(Check(name, "optimiser", problems.update_problem, case) for name, case in OPTIMIZERS.items()),
]
