"""Problems for layers, networks, pruners and optimisers."""

from collections.abc import Callable

import numpy as np

from npl0.gradcheck.problem import Draw, GradientProblem, UpdateProblem
from npl0.nn.base import Context, Layer
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter, ParameterGroup
from npl0.ops.update import adam_reference, sgd_reference
from npl0.pruning.base import Plan, Pruner, Step
from npl0.pruning.fixed_mask import FixedMask
from npl0.pruning.l0 import L0
from npl0.runtime import rng
from npl0.training.optimizers import SGD, Adam, Optimizer, Rule


def layer_problem(draw: Draw, make: Callable[[], Layer], shape: tuple[int, ...], examples: int = 6) -> GradientProblem:
    """A layer as a function of its input, of shape (*shape, examples), and of its parameters."""
    layer = make()
    layer.initialise(draw.generator, np.dtype(np.float64))
    layer.bind(shape)
    for parameter in layer.parameters:
        parameter.value = draw.off_zero(*parameter.value.shape)
    key = int(draw.generator.integers(1000))

    def forward(x, *_):
        context = Context(True, prepared=layer.prepare(), generator=lambda: rng.generator(key, "dropout"))
        # The layer may overwrite its input.
        y, cache = layer.forward(x.copy(), context)
        return y, (cache, context)

    def backward(grad_y, cache, *_):
        grad_x, grads = layer.backward(grad_y, *cache)
        return grad_x, *grads

    arrays = [draw.distinct(*shape, examples), *(parameter.value for parameter in layer.parameters)]
    # Differences are exact at any step for a layer that is linear in each array, and a long one loses fewer digits.
    return GradientProblem(forward, backward, arrays, step=1e-2 if isinstance(layer, Affine) else 1e-5)


def _loss_of(draw: Draw, network: Network) -> Callable[[], float]:
    """Return the loss on 5 random examples as a function of the parameters alone; dropout's noise is fixed."""
    images = draw.generator.uniform(0, 255, (5, *network.input_shape))
    labels = draw.generator.integers(0, *network.output_shape, 5)
    for parameter in network.parameters:
        if parameter.kind != "weight":
            parameter.value += 0.3 * draw.normal(*parameter.value.shape)
    return lambda: network.loss_and_gradients(images, labels, draw.workers, (0, 1))[0]


def _by_parameters(loss: Callable[[], float], parameters: list[Parameter], **settings) -> GradientProblem:
    """Pose a loss that writes its gradients into the parameters."""
    return GradientProblem(
        lambda *_: (loss(), None),
        lambda grad_y, *_: [grad_y * parameter.grad for parameter in parameters],
        [parameter.value for parameter in parameters],
        **settings,
    )


def network_problem(draw: Draw, build: Callable[[], Network], entries: int = 400) -> GradientProblem:
    """The loss of a network as a function of its parameters; at most `entries` of each array are checked."""
    network = build()
    # Inputs of a layer may lie near its kinks; a short step crosses fewer of them and still leaves 7 digits.
    return _by_parameters(_loss_of(draw, network), network.parameters, entries=entries, step=3e-6)


def small_network() -> Network:
    """Convolutions, batch norm, pooling, dropout and a linear layer; 5 examples make shards of 3 and 2."""
    layers = [
        *(Standardise((0.4,), (0.3,)), Conv2d(1, 3, 3, padding=1), ReLU(), BatchNorm(3), MaxPool2d(2)),
        *(Conv2d(3, 4, 3, padding=1, algorithm="winograd"), AvgPool2d(2), Flatten(), Dropout(0.3), Linear(16, 4)),
    ]
    return Network(layers, (1, 8, 8), "small", dtype=np.float64, shard_size=3)


def small_vgg(norm: type[BatchNorm] = BatchNorm) -> Network:
    """The layers of VGG-16 in its order, with both convolutions and both tile sizes; 5 examples make one shard.

    In a smaller shard the gradient through a batch norm all but vanishes: two normalised values are always -1 and 1.
    """
    layers = [
        *(Standardise((0.4, 0.5), (0.3, 0.2)), Conv2d(2, 3, 3, padding=1, bias=False), norm(3), MaxPool2d(2), ReLU()),
        *(Conv2d(3, 4, 3, padding=1, algorithm="winograd", bias=False), norm(4), MaxPool2d(2), ReLU()),
        *(Conv2d(4, 4, 3, padding=1, algorithm="winograd", bias=False), norm(4), ReLU()),
        *(Flatten(), Linear(16, 5, bias=False), norm(5), ReLU(), Linear(5, 4)),
    ]
    return Network(layers, (2, 8, 8), "small vgg", dtype=np.float64, shard_size=5)


def perceptron() -> Network:
    """Two linear layers, small enough to check every free parameter of a pruner."""
    layers = [Standardise((0.4,), (0.3,)), Flatten(), Linear(8, 6), ReLU(), Linear(6, 4)]
    return Network(layers, (1, 2, 4), dtype=np.float64, shard_size=3)


def pruner_problem(
    draw: Draw, make: Callable[[Network, Draw], Pruner], build: Callable[[], Network] = perceptron
) -> GradientProblem:
    """Loss and penalty of a training step as a function of all that the optimiser moves; gate noise is fixed."""
    network = build()
    loss = _loss_of(draw, network)
    pruner, step = make(network, draw), Step(1)
    pruner.begin(Plan(seed=0, n_train=7, epochs=3, steps_per_epoch=1))
    free = [parameter for group in pruner.groups(1.0, 0.0) for parameter in group.parameters]
    for parameter in free:
        if parameter.kind == "gate":
            parameter.value[...] = 0.7 * draw.normal(*parameter.value.shape)

    def penalised() -> float:
        # Differences also move weights that a mask holds at zero; put them back, as after every training step.
        pruner.after_step(step)
        pruner.write_weights(step)
        return loss() + pruner.read_gradients(step)

    return _by_parameters(penalised, free)


def fixed_mask(network: Network, draw: Draw, kind: type[FixedMask] = FixedMask) -> FixedMask:
    """Keep about half of the weights."""
    return kind(network, {w.name: draw.generator.random(w.value.shape) < 0.5 for w in network.weights})


def l0_problem(
    draw: Draw, gate_shape: str, kind: type[L0] = L0, build: Callable[[], Network] = perceptron, strength: float = 3.0
) -> GradientProblem:
    """L0 in the middle of the ramp, with another strength for one layer."""
    settings = {"l0_lambda": strength, "layer_lambda": {"fc2": 0.5}, "ramp_epochs": 3, "gate_shape": gate_shape}
    return pruner_problem(draw, lambda network, _: kind(network, **settings), build)


def _optimizer_problem(
    draw: Draw, reference: Callable, numbers: Callable, kind: type[Rule], decay: float, **settings
) -> UpdateProblem:
    """Three steps at rate 0.1, against `reference(value, grad, *slots, *numbers(t))` with t = 1, 2, 3."""
    value, grads = draw.normal(20), draw.normal(3, 20)

    def expected():
        x, slots = value.copy(), [np.zeros(20) for _ in kind.slots]
        for t, grad in enumerate(grads, start=1):
            reference(x, grad, *slots, *numbers(t))
        return x

    def tested():
        parameter = Parameter(value.copy(), "weight", "w")
        optimizer = Optimizer([ParameterGroup([parameter], 0.1, decay)], kind(**settings))
        for number, grad in enumerate(grads):
            parameter.grad[...] = grad
            optimizer.step(draw.workers, Step(number))
        return parameter.value

    return UpdateProblem(expected, tested)


def sgd_problem(draw: Draw, momentum: float, decay: float, nesterov: bool, kind: type[SGD] = SGD) -> UpdateProblem:
    """SGD against its reference."""
    numbers = 0.1, momentum, decay, nesterov
    return _optimizer_problem(draw, sgd_reference, lambda t: numbers, kind, decay, momentum=momentum, nesterov=nesterov)


def adam_problem(draw: Draw, decay: float, kind: type[Adam] = Adam) -> UpdateProblem:
    """Adam against its reference."""

    def numbers(t):
        return 0.1 / (1 - 0.9**t), 0.9, 0.99, 1e-8, 1 / (1 - 0.99**t), decay

    return _optimizer_problem(draw, adam_reference, numbers, kind, decay, beta2=0.99)
