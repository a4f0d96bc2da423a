"""A small network and a step of training, for every pruner."""

from collections.abc import Callable

import numpy as np
import pytest

from npl0 import nn
from npl0.pruning import Pruner, Step
from npl0.runtime.threads import Workers
from npl0.training.optimizers import Optimizer


@pytest.fixture
def build() -> Callable[..., nn.Network]:
    """Build a network with a convolution and two linear layers, the same one for the same dtype."""

    def build_network(dtype: type = np.float32) -> nn.Network:
        layers = [
            *(nn.Standardise((0.4,), (0.3,)), nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 5)),
        ]
        return nn.Network(layers, (1, 8, 8), "small", 0, dtype, shard_size=8)

    return build_network


@pytest.fixture
def batch(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Twelve images and labels."""
    return generator.integers(0, 256, (12, 1, 8, 8)).astype(np.uint8), generator.integers(0, 5, 12)


@pytest.fixture
def train(batch: tuple[np.ndarray, np.ndarray], workers: Workers) -> Callable[..., list[float]]:
    """Train on the batch for some steps; return the losses, penalties included."""

    def train_steps(pruner: Pruner, optimizer: Optimizer, steps: int) -> list[float]:
        losses = []
        for number in range(steps):
            step = Step(number)
            pruner.write_weights(step)
            loss, _ = pruner.network.loss_and_gradients(*batch, workers, (0, number))
            losses.append(loss + pruner.read_gradients(step))
            optimizer.step(workers, step)
            pruner.after_step(step)
        return losses

    return train_steps
