"""The list of checks.

A new layer needs an entry in `LAYERS`; anything else, a function from a `Draw` to a problem and an entry in `CHECKS`.
The operations of a layer are checked through it, all others directly.
"""

from collections.abc import Callable
from functools import partial

from npl0.gradcheck import model_problems as model
from npl0.gradcheck import op_problems as op
from npl0.gradcheck.problem import Check
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.models import build_model
from npl0.nn.norm import BatchNorm
from npl0.ops.hard_concrete import TEST_GATES
from npl0.ops.winograd3x3 import BLOCK_COLUMNS
from npl0.pruning.base import Pruner
from npl0.pruning.l0 import L0
from npl0.pruning.magnitude import Magnitude

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

# What shares a gate, in the weight of a linear layer and of a convolution.
GATE_SHAPES = ("weight", "filter", "input")
GATES = [(shape, kind) for shape in ((4, 5), (3, 2, 2, 2)) for kind in GATE_SHAPES]
FULL_SIZE = partial(build_model, dtype=float, shard_size=3)


def _check(name: str, kind: str, build: Callable, *case) -> Check:
    return Check(name, kind, lambda draw: build(draw, *case))


CHECKS: list[Check] = [
    *(_check(name, "layer", model.layer_problem, *layer) for name, layer in LAYERS.items()),
    _check("softmax cross-entropy", "op", op.loss_problem),
    _check("hard-concrete sample", "op", op.sample_problem),
    *(_check(f"hard-concrete test gate, {rule}", "op", op.deterministic_problem, rule) for rule in TEST_GATES),
    _check("hard-concrete P(z > 0)", "op", op.open_problem),
    *(_check(f"gated weight {w}, one gate per {g}", "op", op.gated_weight_problem, w, g) for w, g in GATES),
    _check("small network", "network", model.network_problem, model.small_network),
    _check("small vgg", "network", model.network_problem, model.small_vgg),
    _check("lenet300", "network", model.network_problem, partial(FULL_SIZE, "lenet300"), 30),
    _check("lenet5", "network", model.network_problem, partial(FULL_SIZE, "lenet5"), 12),
    _check("dense", "pruner", model.pruner_problem, lambda network, _: Pruner(network)),
    _check("magnitude", "pruner", model.pruner_problem, lambda network, _: Magnitude(network)),
    _check("fixed mask", "pruner", model.pruner_problem, model.fixed_mask),
    *(_check(f"l0, one gate per {shape}", "pruner", model.l0_problem, shape) for shape in GATE_SHAPES),
    _check("l0 on the small vgg", "pruner", model.l0_problem, "weight", L0, model.small_vgg, 0.3),
    _check("sgd", "optimiser", model.sgd_problem, 0.0, 0.0, False),
    _check("sgd, momentum, decay", "optimiser", model.sgd_problem, 0.9, 0.1, False),
    _check("sgd, nesterov, decay", "optimiser", model.sgd_problem, 0.9, 0.1, True),
    _check("adam", "optimiser", model.adam_problem, 0.0),
    _check("adam, decay", "optimiser", model.adam_problem, 0.1),
]
