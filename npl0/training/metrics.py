"""What is measured of a network: accuracy, and how many weights and multiply-adds are left."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from npl0.nn.network import Network
from npl0.runtime.threads import Workers


def count_correct(network: Network, images: np.ndarray, labels: np.ndarray, workers: Workers | None = None) -> int:
    """Return how many images get their label as the largest logit."""
    return int((network.predict(images, workers).argmax(axis=1) == labels).sum())


@dataclass(frozen=True)
class LayerMeasure:
    """A layer that has weights: `density = nnz / size`; multiply-adds of one example, all and with non-zero weight."""

    name: str
    size: int
    nnz: int
    density: float
    macs: int
    macs_nnz: int


def measure_layers(network: Network) -> list[LayerMeasure]:
    """Count the non-zero weights of every layer that has weights."""
    nnz: Counter[str] = Counter()
    for weight in network.weights:
        nnz[weight.layer] += int(np.count_nonzero(weight.value))
    return [
        LayerMeasure(
            row.name,
            row.weights,
            nnz[row.name],
            nnz[row.name] / row.weights,
            row.macs,
            row.macs // row.weights * nnz[row.name],
        )
        for row in network.summary()
        if row.weights
    ]


def first_not_finite(network: Network, images: np.ndarray) -> str:
    """Name the first tensor, along the forward and then the backward pass, that holds NaN or infinity."""
    for parameter in network.parameters:
        if not np.isfinite(parameter.value).all():
            return f"the parameter {parameter.name}"
    for name, y in network.activations(images):
        if not np.isfinite(y).all():
            return f"the output of {name}"
    for parameter in reversed(network.parameters):
        if not np.isfinite(parameter.grad).all():
            return f"the gradient of {parameter.name}"
    return "none of weights, outputs and gradients: the loss itself overflows"
