"""What is measured of a network: its accuracy, and how many weights and multiply-adds are left."""

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.live import live_masks
from npl0.pruning.masks import Masks, masks_of
from npl0.runtime.threads import Workers


def count_correct(network: Network, images: np.ndarray, labels: np.ndarray, workers: Workers | None = None) -> int:
    """Return how many images have their label as the largest logit; ValueError if `check_examples` raises it."""
    network.check_examples((images, labels))
    return int((network.predict(images, workers).argmax(axis=1) == labels).sum())


@dataclass(frozen=True)
class WeightCount:
    """How many of a network's weights are kept, and live (see `npl0.pruning.live`; None if that is not known).

    `str` gives `2,501 of 430,500 weights (172.1x), live 2,474 (174.0x)`.
    """

    size: int
    kept: int
    live: int | None = None

    @classmethod
    def of_masks(cls, masks: Masks) -> "WeightCount":
        """Count the weights that masks keep."""
        live = live_masks(masks)
        counts = [None if kind is None else sum(int(mask.sum()) for mask in kind.values()) for kind in (masks, live)]
        return cls(sum(mask.size for mask in masks.values()), *counts)

    @classmethod
    def of_network(cls, network: Network) -> "WeightCount":
        """Count the non-zero weights."""
        return cls.of_masks(masks_of(network))

    @property
    def density(self) -> float:
        """Kept weights divided by all weights."""
        return self.kept / self.size

    @property
    def compression_ratio(self) -> float:
        """All weights divided by kept ones; infinity if none is kept."""
        return self.size / self.kept if self.kept else math.inf

    @property
    def effective_compression(self) -> float | None:
        """All weights divided by live ones."""
        return None if self.live is None else self.size / self.live if self.live else math.inf

    @property
    def ratio_text(self) -> str:
        """The compression ratio as text."""
        return f"{self.compression_ratio:.1f}x" if self.kept else "all pruned"

    @property
    def live_text(self) -> str:
        """The live weights and the effective compression as text; empty if they are not known."""
        return "" if self.live is None else f"{self.live:,} ({self.size / self.live:.1f}x)" if self.live else "none"

    def __str__(self) -> str:
        live = f", live {self.live_text}" if self.live_text and self.live != self.kept else ""
        return f"{self.kept:,} of {self.size:,} weights ({self.ratio_text}){live}"


def first_not_finite(network: Network, images: np.ndarray) -> str:
    """Name the first tensor, along the forward and then the backward pass, that holds NaN or infinity."""
    arrays = chain(
        ((f"the parameter {p.name}", p.value) for p in network.parameters),
        ((f"the output of {name}", y) for name, y in network.activations(images)),
        ((f"the gradient of {p.name}", p.grad) for p in reversed(network.parameters)),
    )
    otherwise = "none of weights, outputs and gradients: the loss itself overflows"
    return next((name for name, array in arrays if not np.isfinite(array).all()), otherwise)
