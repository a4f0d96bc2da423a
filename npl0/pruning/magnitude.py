"""The classic method: train, remove the small weights, retrain the rest (Han et al. 2015, arXiv 1506.02626)."""

import warnings

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.pruning.masks import Masks
from npl0.pruning.methods import MagnitudeSettings


def keep_largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Return a bool mask of exactly `count` entries with the largest scores; ties go to the lower index.

    ValueError if count is not in [0, scores.size], or a score is NaN.
    """
    if not 0 <= count <= scores.size:
        raise ValueError(f"cannot keep {count} of {scores.size} weights")
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(-scores, axis=None, kind="stable")[:count]] = True
    return mask.reshape(scores.shape)


class Magnitude(Pruner):
    """Train densely; prune by magnitude once at the end.

    The score of a weight is |w| / (standard deviation of its layer) with the criterion `layer-std`, as in Han et al.,
    and |w| with `global`. With a compression, the `round(size / compression)` largest are kept (fewer, with a warning,
    if the rest is 0); with compression 0, those of which |w| exceeds `quality` standard deviations (of layer, or all).

    Parameters
    ----------
    network : the network.
    settings : the fields of `npl0.pruning.methods.MagnitudeSettings`: criterion, compression, quality.
    """

    name = "magnitude"
    remedies = {  # noqa: RUF012 - a constant
        "died": "lower {compression}, or try the other {criterion}",
        "was hardly pruned": "raise {compression} or {quality}",
        "is collapsing": "lower {compression}, or try the other {criterion}",
    }

    def __init__(self, network: Network, **settings) -> None:
        super().__init__(network)
        self.settings = MagnitudeSettings(**settings)
        self._masks: Masks | None = None

    def masks(self) -> Masks:
        """Return what `finalise` kept; before it, every weight."""
        return self._masks or super().masks()

    def finalise(self) -> Masks:
        weights = self.network.weights
        flat = np.concatenate([weight.value.reshape(-1) for weight in weights])
        groups = [weight.value for weight in weights] if self.settings.criterion == "layer-std" else [flat]
        # The lower bound keeps equal weights, whose deviation is 0, from dividing by zero.
        scores = np.abs(flat) / np.concatenate([np.full(group.size, max(group.std(), 1e-30)) for group in groups])
        if self.settings.compression:
            asked, found = max(1, round(flat.size / self.settings.compression)), np.count_nonzero(flat)
            if found < asked:
                warnings.warn(f"pruning keeps {found:,} weights, not {asked:,}: the others were 0 before", stacklevel=2)
            kept = keep_largest(scores, asked)
        else:
            kept = scores > self.settings.quality
        # A weight that is zero already was pruned before: keeping it would let retraining revive it.
        kept &= flat != 0
        parts = np.split(kept, np.cumsum([weight.size for weight in weights])[:-1])
        self._masks = {w.name: part.reshape(w.value.shape) for w, part in zip(weights, parts, strict=True)}
        return super().finalise()
