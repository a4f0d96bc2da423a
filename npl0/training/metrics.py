"""What is measured of a network: its accuracy, and how many weights and multiply-adds are left."""

import math
from dataclasses import dataclass

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.masks import Masks
from npl0.runtime.threads import Workers


def count_correct(network: Network, images: np.ndarray, labels: np.ndarray, workers: Workers | None = None) -> int:
    """Return how many images have their label as the largest logit."""
    return int((network.predict(images, workers).argmax(axis=1) == labels).sum())


@dataclass(frozen=True)
class WeightCount:
    """How many of a network's weights are kept; `str` gives `2,501 of 430,500 weights (172.1x)`."""

    size: int
    kept: int

    @classmethod
    def of_masks(cls, masks: Masks) -> "WeightCount":
        """Count the weights that masks keep."""
        return cls(sum(mask.size for mask in masks.values()), sum(int(mask.sum()) for mask in masks.values()))

    @classmethod
    def of_network(cls, network: Network) -> "WeightCount":
        """Count the non-zero weights."""
        return cls.of_masks({weight.name: weight.value != 0 for weight in network.weights})

    @property
    def density(self) -> float:
        """Kept weights divided by all weights."""
        return self.kept / self.size

    @property
    def compression_ratio(self) -> float:
        """All weights divided by kept ones; infinity if none is kept."""
        return self.size / self.kept if self.kept else math.inf

    @property
    def ratio_text(self) -> str:
        """The compression ratio as text."""
        return f"{self.compression_ratio:.1f}x" if self.kept else "all pruned"

    def __str__(self) -> str:
        return f"{self.kept:,} of {self.size:,} weights ({self.ratio_text})"


@dataclass(frozen=True)
class LayerMeasure:
    """A layer with weights: `density = nnz / size`; `macs` are its multiply-adds for one example, all and kept ones."""

    name: str
    size: int
    nnz: int
    density: float
    macs: int
    macs_nnz: int


def measure_layers(network: Network) -> list[LayerMeasure]:
    """Count the non-zero weights of every layer that has weights."""
    return [
        LayerMeasure(r.name, r.weights, r.kept, r.kept / r.weights, r.macs, r.macs // r.weights * r.kept)
        for r in network.summary()
        if r.weights
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
