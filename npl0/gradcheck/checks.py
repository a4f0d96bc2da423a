"""The registry of checks. To add one: a function from a `Draw` to a problem, and one entry here."""

from collections.abc import Callable

from npl0.gradcheck import model_problems as model
from npl0.gradcheck import op_problems as op
from npl0.gradcheck.problem import Check, Problem
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.norm import BatchNorm
from npl0.ops.winograd3x3 import BLOCK_COLUMNS
from npl0.pruning.base import Pruner
from npl0.pruning.l0 import GATE_SHAPES, L0
from npl0.pruning.magnitude import Magnitude


def _check(name: str, kind: str, build: Callable[..., Problem], *case) -> Check:
    return Check(name, kind, lambda draw: build(draw, *case))


# Kernel size, stride and padding of the convolutions by im2col; m, r and padding of those by Winograd.
CONVOLUTIONS = [(1, 1, 0), (3, 1, 0), (3, 1, 1), (2, 2, 0), (3, 2, 1), (2, 3, 0), (5, 1, 2)]
WINOGRAD = [(4, 5, 0), (4, 3, 0), (4, 3, 1), (2, 3, 1)]
# Three rows of one tile: of examples enough to fill half a block with a tile, they are cut into two rows and one.
IN_BLOCKS = (3, 1)

# Size and stride of the pooling windows: side by side, overlapping, and with gaps between them.
POOLS = [(2, 2), (3, 2), (2, 3)]

# Shape of the weight and of its gates: one gate a weight, a filter, an input, a channel.
GATES = [
    ((4, 5), (4, 5)),
    ((3, 2, 2, 2), (3, 2, 2, 2)),
    ((4, 5), (4, 1)),
    ((4, 5), (1, 5)),
    ((3, 2, 2, 2), (3, 1, 1, 1)),
    ((3, 2, 2, 2), (1, 2, 1, 1)),
]

# Every layer is made anew for each run, for a check must not depend on those before it.
LAYERS = {
    "Linear": (lambda: Linear(5, 4), (5,)),
    "Linear without bias": (lambda: Linear(5, 4, bias=False), (5,)),
    "Conv2d im2col": (lambda: Conv2d(2, 3, 3, stride=2, padding=1), (2, 6, 5)),
    "Conv2d winograd": (lambda: Conv2d(2, 3, 3, padding=1, algorithm="winograd"), (2, 4, 6)),
    "Conv2d im2col without bias": (lambda: Conv2d(2, 3, 3, stride=2, padding=1, bias=False), (2, 6, 5)),
    "Conv2d winograd without bias": (lambda: Conv2d(2, 3, 3, 1, 1, "winograd", bias=False), (2, 4, 6)),
    "ReLU": (ReLU, (4, 3)),
    "Dropout": (lambda: Dropout(0.4), (5, 2, 2)),
    "Flatten": (Flatten, (2, 3, 2)),
    "MaxPool2d": (lambda: MaxPool2d(3, 2), (2, 7, 6)),
    "AvgPool2d": (lambda: AvgPool2d(2), (2, 5, 6)),
    "BatchNorm 1-d": (lambda: BatchNorm(4), (4,)),
    "BatchNorm 2-d": (lambda: BatchNorm(2), (2, 3, 2)),
    "Standardise": (lambda: Standardise((0.4, 0.5), (0.2, 0.3)), (2, 3, 2)),
}


def _layer(draw, name: str) -> Problem:
    make, shape = LAYERS[name]
    return model.layer_problem(draw, make(), *shape)


CHECKS: list[Check] = [
    _check("linear", "op", op.linear_problem),
    *(_check(f"conv2d {k}x{k} stride {s} pad {p}", "op", op.conv_problem, k, s, p) for k, s, p in CONVOLUTIONS),
    *(_check(f"winograd F({m},{r}) pad {p}", "op", op.winograd_problem, m, r, p) for m, r, p in WINOGRAD),
    _check("winograd F(4,3) in blocks", "op", op.winograd_problem, 4, 3, 1, IN_BLOCKS, BLOCK_COLUMNS // 2),
    *(_check(f"maxpool {k}x{k} stride {s}", "op", op.maxpool_problem, k, s) for k, s in POOLS),
    *(_check(f"avgpool {k}x{k} stride {s}", "op", op.avgpool_problem, k, s) for k, s in POOLS),
    _check("relu", "op", op.relu_problem),
    _check("dropout", "op", op.dropout_problem),
    _check("batchnorm 1-d", "op", op.batchnorm_problem, 4, 7),
    _check("batchnorm 2-d", "op", op.batchnorm_problem, 3, 2, 3, 4),
    _check("softmax cross-entropy", "op", op.loss_problem),
    _check("hard-concrete sample", "op", op.sample_problem),
    _check("hard-concrete test gate, paper", "op", op.deterministic_problem, "paper"),
    _check("hard-concrete test gate, median", "op", op.deterministic_problem, "median"),
    _check("hard-concrete P(z > 0)", "op", op.open_problem),
    *(_check(f"gated weight {w}, gates {g}", "op", op.gated_weight_problem, w, g) for w, g in GATES),
    *(_check(name, "layer", _layer, name) for name in LAYERS),
    _check("small network", "network", lambda draw: model.network_problem(draw, model.small_network(), 4)),
    _check("small vgg", "network", lambda draw: model.network_problem(draw, model.small_vgg(), 4)),
    _check("lenet300", "network", model.model_problem, "lenet300", 30),
    _check("lenet5", "network", model.model_problem, "lenet5", 12),
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
