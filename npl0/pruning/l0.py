"""L0 regularisation: a hard-concrete gate on every weight, or on every group of weights that share one.

The weights are `w = theta z` with random gates z, one draw per weight and mini-batch, and the objective is

    mean cross-entropy(theta z) + lambda / N sum over weights of P(z > 0),      N training examples

(Louizos, Welling & Kingma 2018, eq. 9-12). Its gradients, with p = P(z > 0):

    grad_theta = grad_w z,    grad_log_alpha = grad_w theta dz/dlog_alpha + lambda / N p (1 - p).

A gate that a draw has closed passes no gradient of the loss to theta or log_alpha in that step. It comes back because
later draws open it again: a gate whose test-time value is 0 is still open in up to 31 % of the draws.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import Parameter, ParameterGroup
from npl0.ops import hard_concrete
from npl0.ops.gated_weight import gated_weight, gated_weight_backward
from npl0.pruning.base import Plan, Pruner, Step
from npl0.pruning.masks import Masks
from npl0.pruning.methods import L0Settings
from npl0.runtime import rng

# log_alpha stays within ±CLAMP: wide enough for P(z > 0) to vanish (at ±4.6 it could not fall below 4.7 %).
CLAMP = 10.0
# Weights per block of work, about what fits into a core's cache. The blocks key the noise, so this never varies.
BLOCK_SIZE = 65536
# Spread of the initial log_alpha, as in the code of Louizos et al.: gates that start alike would move alike.
INITIAL_SPREAD = 0.01


@dataclass
class _Block:
    """Some rows of a gated weight: the key of their noise, lambda / N of the layer, and their gates."""

    key: tuple[int, int]
    lam_per_example: float
    rows: slice
    weight: Parameter
    theta: Parameter
    log_alpha: Parameter
    z: np.ndarray


class L0(Pruner):
    """Train a network under hard-concrete gates.

    Parameters
    ----------
    network : its weights become theta when training begins; until then it is unchanged.
    settings : the fields of `npl0.pruning.methods.L0Settings`: l0_lambda, layer_lambda, gate_learning_rate,
        gate_schedule, log_alpha_init, ramp_epochs, gate_shape, test_gate. ValueError if one is out of range, or
        layer_lambda names a layer without weights.

    Attributes
    ----------
    theta, log_alphas : the free weights and the gate locations, one parameter per gated weight; empty before training.
    """

    name = "l0"
    remedies = {  # noqa: RUF012 - a constant
        "died": "lower {l0_lambda}, or this layer's factor in {layer_lambda}",
        "was hardly pruned": "raise {l0_lambda} or train longer",
        "is collapsing": "halve its factor in {layer_lambda}, lengthen {ramp_epochs}, or start from a trained network",
    }

    def __init__(self, network: Network, **settings) -> None:
        super().__init__(network)
        self.settings = L0Settings(**settings)
        self._factors = self.settings.layer_factors()
        layers = [weight.layer for weight in network.weights]
        if unknown := [name for name in self._factors if name not in layers]:
            raise ValueError(f"layer_lambda names {', '.join(unknown)}; the gated layers are {', '.join(layers)}")
        self.theta: list[Parameter] = []
        self.log_alphas: list[Parameter] = []
        self._blocks: list[_Block] = []

    def begin(self, plan: Plan) -> None:
        """Make the gates, unless an earlier stage has; the ramp of lambda begins anew in every stage."""
        self._seed, self._ramp_steps = plan.seed, round(self.settings.ramp_epochs * plan.steps_per_epoch)
        weights = self.network.weights
        for weight, theta, gate in zip(weights, self.theta, self._test_gates(), strict=bool(self.theta)):
            if not np.array_equal(weight.value, theta.value * gate):
                remedy = "a change by hand belongs in theta; then call write_test_weights(), or make a new L0"
                raise ValueError(f"{weight.name} is not theta times its gate, and would be overwritten: {remedy}")
        if not self.theta:
            for i, weight in enumerate(weights):
                shape = gate_shape(weight.value.shape, self.settings.gate_shape)
                spread = rng.generator(plan.seed, "gates", 0, i).standard_normal(shape) * INITIAL_SPREAD
                log_alpha = (self.settings.log_alpha_init + spread).astype(weight.value.dtype)
                self.theta.append(Parameter(weight.value.copy(), "weight", f"{weight.name}.theta"))
                self.log_alphas.append(Parameter(log_alpha, "gate", f"{weight.name}.log_alpha"))
        self._blocks = []
        for i, (weight, theta, log_alpha) in enumerate(zip(weights, self.theta, self.log_alphas, strict=True)):
            lam_per_example = self.settings.l0_lambda * self._factors.get(weight.layer, 1.0) / plan.n_train
            # Where rows share gates, all rows make one block.
            rows, gates = len(weight.value), len(log_alpha.value)
            block_rows = max(1, BLOCK_SIZE // math.prod(weight.value.shape[1:])) if gates == rows else rows
            for number, start in enumerate(range(0, rows, block_rows)):
                part = slice(start, start + block_rows)
                z = np.ones_like(log_alpha.value[part])
                self._blocks.append(_Block((i, number), lam_per_example, part, weight, theta, log_alpha, z))
        self.write_test_weights()

    def free_weights(self) -> list[Parameter]:
        return self.theta

    def groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        # No weight decay for the gates: it pulls log_alpha to 0, where the test-time gate is half open.
        rate, schedule = self.settings.gate_learning_rate, self.settings.gate_schedule
        gates = ParameterGroup(self.log_alphas, rate, always_adam=True, schedule=schedule)
        return [*super().groups(learning_rate, weight_decay), gates]

    def ramp(self, step: Step) -> float:
        """Return the factor of lambda at a step: it rises linearly from 0 to 1 over the ramp."""
        return min(1.0, (step.number + 1) / self._ramp_steps) if self._ramp_steps else 1.0

    def write_weights(self, step: Step) -> None:
        def draw(b: _Block) -> None:
            u = rng.generator(self._seed, "gates", 1 + step.number, *b.key).random(b.z.shape, dtype=b.z.dtype)
            gated_weight(b.theta.value[b.rows], b.log_alpha.value[b.rows], u, b.z, b.weight.value[b.rows])

        self.map(draw, self._blocks)

    def read_gradients(self, step: Step) -> float:
        ramp = self.ramp(step)

        def differentiate(b: _Block) -> float:
            grad, grad_theta, grad_log_alpha = (p.grad[b.rows] for p in (b.weight, b.theta, b.log_alpha))
            gated = (grad, b.theta.value[b.rows], b.log_alpha.value[b.rows], b.z)
            return gated_weight_backward(*gated, ramp * b.lam_per_example, grad_theta, grad_log_alpha)

        expected = self.map(differentiate, self._blocks)
        return ramp * sum(block.lam_per_example * e for block, e in zip(self._blocks, expected, strict=True))

    def after_step(self, step: Step) -> None:
        values = [block.log_alpha.value[block.rows] for block in self._blocks]
        self.map(lambda value: np.clip(value, -CLAMP, CLAMP, out=value), values)

    def write_test_weights(self) -> None:
        for weight, theta, gate in zip(self.network.weights, self.theta, self._test_gates(), strict=bool(self.theta)):
            np.multiply(theta.value, gate, out=weight.value)

    def _test_gates(self) -> Iterator[np.ndarray]:
        return (hard_concrete.deterministic_gate(p.value, self.settings.test_gate) for p in self.log_alphas)

    def masks(self) -> Masks:
        if not self.theta:
            return super().masks()
        return {
            weight.name: (gate > 0) & (theta.value != 0)
            for weight, theta, gate in zip(self.network.weights, self.theta, self._test_gates(), strict=True)
        }

    def expected_l0(self) -> float:
        """Return E[L0], the sum of P(z > 0) over all weights."""
        return sum(
            float(hard_concrete.open_probability(log_alpha.value).sum(dtype=np.float64)) * theta.size / log_alpha.size
            for log_alpha, theta in zip(self.log_alphas, self.theta, strict=True)
        )

    def state(self) -> dict[str, np.ndarray]:
        return {parameter.name: parameter.value for parameter in (*self.theta, *self.log_alphas)}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        super().load_state(arrays)
        self.write_test_weights()


def gate_shape(weight_shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    """Return the shape of gates, one per `weight`, `filter` or `input`, that broadcasts against a weight."""
    gated_axes = {"weight": range(len(weight_shape)), "filter": (0,), "input": (1,)}[kind]
    return tuple(size if axis in gated_axes else 1 for axis, size in enumerate(weight_shape))
