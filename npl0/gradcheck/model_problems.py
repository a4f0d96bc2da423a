"""The problems of layers, networks, pruners and optimisers."""

from collections.abc import Callable

import numpy as np

from npl0.gradcheck.problem import Draw, GradientProblem, Problem, UpdateProblem
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Context, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.models import MODELS
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter
from npl0.ops.update import adam_reference, sgd_reference
from npl0.pruning import L0, FixedMask, Pruner
from npl0.runtime import rng
from npl0.training.optimizers import SGD, Adam, Optimizer, ParameterGroup

# Nothing keeps the inside of a network away from kinks; a short step meets fewer of them, and still leaves 7 digits.
SHORT_STEP = 3e-6


def layer_problem(draw: Draw, layer: Layer, *shape: int) -> Problem:
    """A layer, its input of 6 examples and its parameters, through forward and backward."""
    layer.initialise(draw.generator, np.dtype(np.float64))
    layer.bind(shape)
    for parameter in layer.parameters:
        parameter.value = draw.off_zero(*parameter.value.shape)
    key = int(draw.generator.integers(1000))

    def forward(x):
        context = Context(True, prepared=layer.prepare(), generator=lambda: rng.generator(key, "dropout"))
        # A copy, which the layer may overwrite.
        return *layer.forward(x.copy(), context), context

    def gradients(grad_y, x, *_):
        _, cache, context = forward(x)
        grad_x, grads = layer.backward(grad_y, cache, context)
        return grad_x, *grads

    arrays = [draw.distinct(*shape, 6), *(parameter.value for parameter in layer.parameters)]
    return GradientProblem(lambda x, *_: forward(x)[0], gradients, arrays)


def network_problem(draw: Draw, network: Network, classes: int, entries: int = 400) -> Problem:
    """The loss of a whole network on 5 examples, cut into shards, by all its parameters."""
    loss = loss_function(draw, network, classes)
    parameters = network.parameters

    def gradients(grad_y, *_):
        loss()
        return [grad_y * parameter.grad for parameter in parameters]

    return GradientProblem(lambda *_: loss(), gradients, [p.value for p in parameters], entries, SHORT_STEP)


def loss_function(draw: Draw, network: Network, classes: int) -> Callable[[], float]:
    """Return the loss on 5 random examples as a function of the parameters alone; dropout's key is fixed."""
    images = draw.generator.uniform(0, 255, (5, *network.input_shape))
    labels = draw.generator.integers(0, classes, 5)
    for parameter in network.parameters:
        if parameter.kind != "weight":
            parameter.value += 0.3 * draw.normal(*parameter.value.shape)
    return lambda: network.loss_and_gradients(images, labels, draw.workers, (0, 1))[0]


def small_network(seed: int = 0) -> Network:
    """A convolution, a batch norm, a pooling, a dropout and a linear layer, in shards of 3 and 2."""
    layers = [
        *(Standardise((0.4,), (0.3,)), Conv2d(1, 3, 3, padding=1), ReLU(), BatchNorm(3), MaxPool2d(2)),
        *(Conv2d(3, 4, 3, padding=1, algorithm="winograd"), AvgPool2d(2), Flatten(), Dropout(0.3), Linear(16, 4)),
    ]
    return Network(layers, (1, 8, 8), "small", seed, np.float64, shard_size=3)


def small_vgg(norm: type[BatchNorm] = BatchNorm) -> Network:
    """VGG-16's kinds of layers in its order, both convolutions and both sizes of tile, in one shard.

    A batch norm of two values knows little but their order, so smaller shards would have next to no gradient.
    """
    layers = [
        *(Standardise((0.4, 0.5), (0.3, 0.2)), Conv2d(2, 3, 3, padding=1, bias=False), norm(3), MaxPool2d(2), ReLU()),
        *(Conv2d(3, 4, 3, padding=1, algorithm="winograd", bias=False), norm(4), MaxPool2d(2), ReLU()),
        *(Conv2d(4, 4, 3, padding=1, algorithm="winograd", bias=False), norm(4), ReLU()),
        *(Flatten(), Linear(16, 5, bias=False), norm(5), ReLU(), Linear(5, 4)),
    ]
    return Network(layers, (2, 8, 8), "small vgg", dtype=np.float64, shard_size=5)


def model_problem(draw: Draw, name: str, entries: int) -> Problem:
    """A model of the package at its true size, some entries of every array."""
    return network_problem(draw, MODELS[name](dtype=np.float64, shard_size=3), 10, entries)


def perceptron() -> Network:
    """A network small enough that a pruner's every free parameter is looked at."""
    layers = [Standardise((0.4,), (0.3,)), Flatten(), Linear(8, 6), ReLU(), Linear(6, 4)]
    return Network(layers, (1, 2, 4), dtype=np.float64, shard_size=3)


def l0_problem(
    draw: Draw,
    gate_shape: str,
    kind: type[L0] = L0,
    build: Callable[[], Network] = perceptron,
    l0_lambda: float = 3.0,
) -> Problem:
    """Loss and penalty by theta, log_alpha and the rest, in the middle of the ramp; the noise is that of step 1."""
    network = build()
    loss = loss_function(draw, network, 4)
    pruner = kind(network, 7, l0_lambda=l0_lambda, layer_lambda={"fc2": 0.5}, ramp_steps=3, gate_shape=gate_shape)
    for gate in pruner.gates:
        gate.value[...] = 0.7 * draw.normal(*gate.value.shape)
    free = [p for group in pruner.groups(1.0, 0.0) for p in group.parameters]

    def function(*_):
        pruner.write_weights(1)
        return loss() + pruner.read_gradients()

    def gradients(grad_y, *_):
        function()
        return [grad_y * parameter.grad for parameter in free]

    return GradientProblem(function, gradients, [parameter.value for parameter in free])


def pruner_problem(draw: Draw, build: Callable[[Network, Draw], Pruner]) -> Problem:
    """A pruner that works on the weights themselves: what it holds at zero must have gradient zero."""
    network = perceptron()
    loss = loss_function(draw, network, 4)
    pruner = build(network, draw)

    def function(*_):
        pruner.after_step()
        return loss()

    def gradients(grad_y, *_):
        function()
        pruner.read_gradients()
        return [grad_y * parameter.grad for parameter in network.parameters]

    return GradientProblem(function, gradients, [p.value for p in network.parameters])


def fixed_mask(network: Network, draw: Draw, kind: type[FixedMask] = FixedMask) -> FixedMask:
    """Keep about half of the weights."""
    return kind(network, {w.name: draw.generator.random(w.value.shape) < 0.5 for w in network.weights})


def sgd_problem(draw: Draw, momentum: float, weight_decay: float, nesterov: bool, kind: type[SGD] = SGD) -> Problem:
    """Three steps of SGD."""
    value, grads = draw.normal(20), draw.normal(3, 20)

    def reference():
        x, velocity = value.copy(), np.zeros(20)
        for grad in grads:
            sgd_reference(x, grad, velocity, 0.1, momentum, weight_decay, nesterov)
        return x

    return UpdateProblem(
        reference, lambda: _walk(draw, value, grads, weight_decay, kind, momentum=momentum, nesterov=nesterov)
    )


def adam_problem(draw: Draw, weight_decay: float, kind: type[Adam] = Adam) -> Problem:
    """Three steps of Adam."""
    value, grads = draw.normal(20), draw.normal(3, 20)

    def reference():
        x, m, v = value.copy(), np.zeros(20), np.zeros(20)
        for t, grad in enumerate(grads, start=1):
            step_size, correction = 0.1 / (1 - 0.9**t), 1 / (1 - 0.99**t)
            adam_reference(x, grad, m, v, step_size, 0.9, 0.99, 1e-8, correction, weight_decay)
        return x

    return UpdateProblem(reference, lambda: _walk(draw, value, grads, weight_decay, kind, beta2=0.99))


def _walk(draw: Draw, value: np.ndarray, grads: np.ndarray, decay: float, kind: type[Optimizer], **settings):
    parameter = Parameter(value.copy(), "weight", "w")
    optimizer = kind([ParameterGroup([parameter], 0.1, decay)], **settings)
    for grad in grads:
        parameter.grad[...] = grad
        optimizer.step(draw.workers)
    return parameter.value
