"""L0 regularisation: a hard-concrete gate on every weight, or on any group that a broadcast shape describes.

The loss is `mean cross-entropy(theta * z) + lambda / N_train * sum over weights of P(z > 0)` (Louizos, Welling & Kingma
2018, eq. 9-12; one draw of z per weight and mini-batch), with the derivatives

    grad_theta = grad_w * z,   grad_z = grad_w * theta,
    grad_log_alpha = grad_z * dz/dlog_alpha + lambda / N_train * p (1 - p),   p = P(z > 0).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import Parameter
from npl0.ops import hard_concrete
from npl0.ops.gated_weight import gated_weight, gated_weight_backward
from npl0.pruning.base import Masks, Pruner
from npl0.runtime import rng
from npl0.settings.sections import L0Config
from npl0.training.optimizers import ParameterGroup

# Wide enough not to hold E[L0] up (at ±4.6 it could not fall below 4.7 %), narrow enough for float32.
CLAMP = 10.0

# Weights that one task gates: about what a core's cache holds; part of the keys of the noise, so never changed by
# the machine.
NOISE_BLOCK = 65536

GATE_SHAPES = ("weight", "filter", "input")

# Spread of the first log_alpha, as in the code of Louizos et al.: gates that start alike would move alike.
INIT_SPREAD = 0.01


@dataclass
class _Block:
    """Rows of one gated weight: views, and the key of their noise."""

    key: tuple[int, int]
    lam: float
    weight: np.ndarray
    grad: np.ndarray
    theta: np.ndarray
    grad_theta: np.ndarray
    log_alpha: np.ndarray
    grad_log_alpha: np.ndarray
    z: np.ndarray


class L0(Pruner):
    """Gates on the weights of a network.

    Parameters
    ----------
    network : its present weights become theta.
    n_train : the number of training examples, which divides lambda.
    seed : keys the noise.
    l0_lambda : strength per weight, before the division by n_train.
    layer_lambda : factors for single layers, by layer name; 1 for those not named.
    gate_learning_rate : the gates' own rate (Adam), much larger than the weights'.
    gate_schedule : the course of that rate over the stage, whatever that of the weights is.
    log_alpha_init : where the gates start; 2.2 opens them with probability 0.98.
    ramp_steps : lambda rises linearly from 0 to its full strength over so many steps.
    gate_shape : one gate a `weight`, a `filter` (output unit or filter), or an `input` (input unit or channel).
    test_gate : the rule of `npl0.ops.hard_concrete.deterministic_gate`.

    Raises
    ------
    ValueError
        If a number is out of its range, or layer_lambda names a layer that has no weight.
    """

    name = "l0"

    def __init__(
        self,
        network: Network,
        n_train: int,
        seed: int = 0,
        l0_lambda: float = 13.0,
        layer_lambda: dict[str, float] | None = None,
        gate_learning_rate: float = 3e-2,
        gate_schedule: str = "step",
        log_alpha_init: float = 2.2,
        ramp_steps: int = 0,
        gate_shape: str = "weight",
        test_gate: str = "paper",
    ) -> None:
        super().__init__(network)
        # The settings of the command are the same numbers, with the same ranges.
        L0Config(
            l0_lambda=l0_lambda,
            gate_learning_rate=gate_learning_rate,
            gate_schedule=gate_schedule,
            log_alpha_init=log_alpha_init,
            gate_shape=gate_shape,
            test_gate=test_gate,
        )
        if n_train < 1 or ramp_steps < 0:
            raise ValueError(f"n_train must be at least 1 and ramp_steps at least 0, not {n_train} and {ramp_steps}")
        factors = layer_lambda or {}
        layers = [weight.layer for weight in network.weights]
        if unknown := [name for name in factors if name not in layers]:
            raise ValueError(f"layer_lambda names {', '.join(unknown)}; the gated layers are {', '.join(layers)}")
        if not all(0 <= factor < math.inf for factor in factors.values()):
            raise ValueError(f"the factors of layer_lambda must be at least 0 and finite, not {factors}")
        self.n_train, self.seed, self.ramp_steps = n_train, seed, ramp_steps
        self.gate_learning_rate, self.gate_schedule, self.test_gate = gate_learning_rate, gate_schedule, test_gate
        self.theta: list[Parameter] = []
        self.gates: list[Parameter] = []
        self._blocks: list[_Block] = []
        self._ramp = 1.0
        for i, weight in enumerate(network.weights):
            theta = Parameter(weight.value.copy(), "weight", f"{weight.name}.theta")
            shape = _gate_shape(weight.value.shape, gate_shape)
            noise = rng.generator(seed, "gates", 0, i).standard_normal(shape) * INIT_SPREAD
            log_alpha = Parameter(
                (log_alpha_init + noise).astype(weight.value.dtype), "gate", f"{weight.name}.log_alpha"
            )
            self.theta.append(theta)
            self.gates.append(log_alpha)
            lam = l0_lambda * factors.get(weight.layer, 1.0) / n_train
            self._blocks.extend(_blocks(i, lam, weight, theta, log_alpha))
        self.write_test_weights()

    def free_weights(self) -> list[Parameter]:
        return self.theta

    def groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        # Gates take no weight decay: it would pull every gate to half open, whatever the data say.
        return [
            *super().groups(learning_rate, weight_decay),
            ParameterGroup(self.gates, self.gate_learning_rate, always_adam=True, schedule=self.gate_schedule),
        ]

    def write_weights(self, step: int) -> None:
        self._ramp = min(1.0, (step + 1) / self.ramp_steps) if self.ramp_steps else 1.0

        def draw(block: _Block) -> None:
            # The clamp of the last step, here because the block is about to be read anyway.
            np.clip(block.log_alpha, -CLAMP, CLAMP, out=block.log_alpha)
            generator = rng.generator(self.seed, "gates", 1 + step, *block.key)
            u = generator.random(block.z.shape, dtype=block.z.dtype)
            gated_weight(block.theta, block.log_alpha, u, block.z, block.weight)

        self._map(draw, self._blocks)

    def write_test_weights(self) -> None:
        for weight, theta, gate in zip(self.network.weights, self.theta, self._test_gates(), strict=True):
            np.multiply(theta.value, gate, out=weight.value)

    def read_gradients(self) -> float:
        def pull(block: _Block) -> float:
            return gated_weight_backward(
                block.grad,
                block.theta,
                block.log_alpha,
                block.z,
                self._ramp * block.lam,
                block.grad_theta,
                block.grad_log_alpha,
            )

        expected = self._map(pull, self._blocks)
        return self._ramp * sum(b.lam * e for b, e in zip(self._blocks, expected, strict=True))

    def _test_gates(self) -> Iterator[np.ndarray]:
        return (hard_concrete.deterministic_gate(gate.value, self.test_gate) for gate in self.gates)

    def masks(self) -> Masks:
        return {
            weight.name: np.broadcast_to(gate > 0, weight.value.shape).copy()
            for weight, gate in zip(self.network.weights, self._test_gates(), strict=True)
        }

    def expected_l0(self) -> float:
        """Return the sum of P(z > 0) over all weights."""
        return sum(
            float(hard_concrete.open_probability(gate.value).sum(dtype=np.float64)) * theta.size / gate.size
            for gate, theta in zip(self.gates, self.theta, strict=True)
        )

    def state(self) -> dict[str, np.ndarray]:
        return {parameter.name: parameter.value for parameter in (*self.theta, *self.gates)}

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        for parameter in (*self.theta, *self.gates):
            stored = arrays[parameter.name]
            if stored.shape != parameter.value.shape:
                raise ValueError(f"{parameter.name} has shape {parameter.value.shape}, the stored one {stored.shape}")
            parameter.value[...] = stored
        self.write_test_weights()


def _gate_shape(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    """Return the shape of the gates that broadcasts against a weight of `shape`."""
    if kind == "weight":
        return shape
    gated_axis = 0 if kind == "filter" else 1
    return tuple(size if axis == gated_axis else 1 for axis, size in enumerate(shape))


def _blocks(layer: int, lam: float, weight: Parameter, theta: Parameter, log_alpha: Parameter) -> list[_Block]:
    """Cut a gated weight into blocks of rows; gates that several rows share make one block of all."""
    z = np.ones_like(log_alpha.value)
    rows = weight.value.shape[0]
    shared_rows = log_alpha.value.shape[0] != rows
    step = rows if shared_rows else max(1, NOISE_BLOCK // math.prod(weight.value.shape[1:]))
    blocks = []
    for number, start in enumerate(range(0, rows, step)):
        part = slice(start, start + step)
        gate_part = slice(None) if shared_rows else part
        blocks.append(
            _Block(
                (layer, number),
                lam,
                weight.value[part],
                weight.grad[part],
                theta.value[part],
                theta.grad[part],
                log_alpha.value[gate_part],
                log_alpha.grad[gate_part],
                z[gate_part],
            )
        )
    return blocks
