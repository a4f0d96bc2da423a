"""A problem is code under test with random inputs; a check is a named problem."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.gradcheck.compare import Comparison, check_gradient, compare
from npl0.nn.base import Context, Layer
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter, ParameterGroup
from npl0.ops.gated_weight import gated_weight, gated_weight_backward
from npl0.ops.hard_concrete import open_probability
from npl0.ops.loss import softmax_cross_entropy
from npl0.ops.update import adam_reference, sgd_reference
from npl0.pruning.base import Plan, Pruner, Step
from npl0.pruning.fixed_mask import FixedMask
from npl0.pruning.l0 import gate_shape
from npl0.runtime import rng
from npl0.runtime.scratch import Memory, Scratch
from npl0.runtime.threads import Workers
from npl0.sparse.layers import sparse_retraining
from npl0.training.optimizers import SGD, Adam, Optimizer


@dataclass
class Draw:
    """A source of random inputs: float64 and repeatable."""

    generator: np.random.Generator
    workers: Workers

    def normal(self, *shape: int) -> np.ndarray:
        """Draw standard normal numbers."""
        return self.generator.standard_normal(shape)


@dataclass(frozen=True)
class GradientProblem:
    """A function and its hand-written gradient at given arrays.

    Attributes
    ----------
    forward : arrays -> (y, cache).
    backward : (grad_y, cache, *arrays) -> one gradient per array: the code under test. It runs right after `forward`.
    arrays : the inputs and parameters, float64.
    entries, step : see `check_gradient`.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Sequence[np.ndarray]]
    arrays: Sequence[np.ndarray]
    entries: int = 400
    step: float = 1e-5

    def gradients(self, grad_y: Any, *arrays: np.ndarray) -> Sequence[np.ndarray]:
        """Run forward and backward."""
        return self.backward(grad_y, self.forward(*arrays)[1], *arrays)

    def compare(self) -> Comparison:
        """Compare the hand-written gradients with central differences."""
        settings = {"entries": self.entries, "step": self.step}
        return check_gradient(lambda *arrays: self.forward(*arrays)[0], self.gradients, self.arrays, **settings)


@dataclass(frozen=True)
class UpdateProblem:
    """An array after some optimiser steps: `tested()` runs the code under test, and `expected` is the oracle's."""

    expected: np.ndarray
    tested: Callable[[], np.ndarray]

    def compare(self) -> Comparison:
        """Compare the two arrays."""
        return compare(self.expected, self.tested(), "value")


@dataclass(frozen=True)
class Check:
    """A named problem, `build(draw, *case)`; `kind` is `op`, `layer`, `network`, `pruner` or `optimiser`."""

    name: str
    kind: str
    build: Callable[..., GradientProblem | UpdateProblem]
    case: tuple = ()

    def run(self, workers: Workers, seed: int = 0) -> Comparison:
        """Build the problem and compare; the same seed and name give the same inputs."""
        draw = Draw(rng.generator(seed, "gradcheck", *self.name.encode()), workers)
        return self.build(draw, *self.case).compare()


def loss_problem(draw: Draw) -> GradientProblem:
    """Softmax cross-entropy of 6 examples from a mini-batch of 10."""
    labels = draw.generator.integers(0, 4, 6)
    return GradientProblem(
        lambda logits: softmax_cross_entropy(logits, labels, 10)[::2],
        lambda grad_y, grad_logits, _: [grad_y * grad_logits],
        [draw.normal(4, 6) * 2],
    )


def elementwise_problem(draw: Draw, function: Callable, backward: Callable) -> GradientProblem:
    """An elementwise function whose `backward(grad_y, y)` needs only its output; gates are closed, open and between."""
    x = draw.normal(60) * 2
    return GradientProblem(lambda x: (function(x),) * 2, lambda grad_y, y, _: [backward(grad_y, y)], [x])


def gated_weight_problem(draw: Draw, shape: tuple[int, ...], kind: str) -> GradientProblem:
    """`theta * z`, and as the last output the expected number of open weights, whose upstream gradient is lambda."""
    gates = gate_shape(shape, kind)
    u = draw.generator.uniform(0.05, 0.95, gates)
    weights_per_gate = math.prod(shape) // math.prod(gates)

    def forward(theta, log_alpha):
        z, weight = np.empty_like(log_alpha), np.empty_like(theta)
        gated_weight(theta, log_alpha, u, z, weight)
        return np.append(weight, weights_per_gate * open_probability(log_alpha).sum()), z

    def backward(grad_y, z, theta, log_alpha):
        grads = np.empty_like(theta), np.empty_like(log_alpha)
        gated_weight_backward(grad_y[:-1].reshape(shape), theta, log_alpha, z, float(grad_y[-1]), *grads)
        return grads

    return GradientProblem(forward, backward, [draw.normal(*shape), draw.normal(*gates) * 0.7])


def layer_problem(draw: Draw, make: Callable[[], Layer], shape: tuple[int, ...], examples: int = 6) -> GradientProblem:
    """A layer as a function of its input, of shape (*shape, examples), and of its parameters."""
    layer = make()
    layer.initialise(draw.generator, np.dtype(np.float64))
    layer.bind(shape)
    for parameter in layer.parameters:
        parameter.value = draw.normal(*parameter.value.shape)
    key = int(draw.generator.integers(1000))

    def forward(x, *_):
        scratch = Scratch(Memory(), output_is_temporary=True)
        context = Context(True, scratch, layer.prepare(), lambda: rng.generator(key, "dropout"))
        # The layer may overwrite its input, and in a network the next layer may overwrite its output.
        x = x.copy()
        y, cache = layer.forward(x, context)
        result = y.copy()
        if not np.may_share_memory(x, y):
            y.fill(np.nan)
        return result, (cache, context)

    def backward(grad_y, cache, *_):
        grad_x, grads = layer.backward(grad_y, *cache)
        return grad_x, *grads

    # Numbers of both signs, 0.05 apart and 0.025 from 0: no maximum is a tie, and no ReLU is at its kink.
    size = math.prod(shape) * examples
    x = (draw.generator.permutation(size).reshape(*shape, examples) - size // 2 + 0.5) * 0.05
    arrays = [x, *(parameter.value for parameter in layer.parameters)]
    # Differences are exact at any step for a layer that is linear in each array, and a long one loses fewer digits.
    return GradientProblem(forward, backward, arrays, step=1e-2 if isinstance(layer, Affine) else 1e-5)


def network_problem(
    draw: Draw, build: Callable[[], Network], prune: Callable[[Network], Pruner] = Pruner, entries: int = 400
) -> GradientProblem:
    """Loss and penalty of a training step on 5 examples, as a function of all parameters that the optimiser moves.

    Noise of gates and dropout is fixed; at most `entries` of each array are checked.
    """
    network = build()
    images = draw.generator.uniform(0, 255, (5, *network.input_shape))
    labels = draw.generator.integers(0, *network.output_shape, 5)
    pruner, step = prune(network), Step(1)
    pruner.begin(Plan(seed=0, n_train=7, epochs=3, steps_per_epoch=1))
    free = [parameter for group in pruner.groups(1.0, 0.0) for parameter in group.parameters]
    for parameter in free:
        noise = draw.normal(*parameter.value.shape)
        if parameter.kind == "gate":
            parameter.value[...] = 0.7 * noise
        elif parameter.kind != "weight":
            parameter.value[...] += 0.3 * noise

    def forward(*_):
        # Differences also move weights that a mask holds at zero; put them back, as after every training step.
        pruner.after_step(step)
        pruner.write_weights(step)
        loss = network.loss_and_gradients(images, labels, draw.workers, (0, 1))[0]
        return loss + pruner.read_gradients(step), None

    def backward(grad_y, *_):
        return [grad_y * parameter.grad for parameter in free]

    return GradientProblem(forward, backward, [parameter.value for parameter in free], entries)


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


def half_masked(network: Network, kind: type[FixedMask] = FixedMask) -> FixedMask:
    """Keep the larger half of the weights of each layer."""
    return kind(network, {w.name: abs(w.value) > np.median(abs(w.value)) for w in network.weights})


def sparse_masked(network: Network) -> FixedMask:
    """Keep the largest sixth of the weights of each layer, and let the layers compute with these alone."""
    pruner = FixedMask(network, {w.name: abs(w.value) > np.quantile(abs(w.value), 5 / 6) for w in network.weights})
    pruner.block = ExitStack()
    pruner.block.enter_context(sparse_retraining(pruner))
    return pruner


def update_problem(draw: Draw, rule: SGD | Adam, decay: float = 0.0) -> UpdateProblem:
    """Three steps of an optimiser at rate 0.1, against the reference of its rule."""
    value, grads = draw.normal(20), draw.normal(3, 20)
    expected, slots = value.copy(), [np.zeros(20) for _ in rule.slots]
    for t, grad in enumerate(grads, start=1):
        if isinstance(rule, SGD):
            sgd_reference(expected, grad, *slots, 0.1, rule.momentum, decay, rule.nesterov)
        else:
            step_size, correction = 0.1 / (1 - rule.beta1**t), 1 / (1 - rule.beta2**t)
            rates = (1 - rule.beta1, 1 - rule.beta2)
            adam_reference(expected, grad, *slots, step_size, *rates, rule.epsilon, correction, decay)

    def tested():
        parameter = Parameter(value.copy(), "weight", "w")
        optimizer = Optimizer([ParameterGroup([parameter], 0.1, decay)], rule)
        for number, grad in enumerate(grads):
            parameter.grad[...] = grad
            optimizer.step(draw.workers, Step(number))
        return parameter.value

    return UpdateProblem(expected, tested)
