"""The classic method: train, remove the small weights, retrain the rest (Han et al. 2015, arXiv 1506.02626)."""

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Masks, Pruner
from npl0.settings.sections import MagnitudeConfig


def keep_largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Return a bool mask of exactly `count` entries: the largest scores, ties going to the lower index.

    Raises
    ------
    ValueError
        If count is not in [0, scores.size], or a score is NaN.
    """
    if not 0 <= count <= scores.size:
        raise ValueError(f"cannot keep {count} of {scores.size} weights")
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    flat = scores.reshape(-1)
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(-flat, kind="stable")[:count]] = True
    return mask.reshape(scores.shape)


class Magnitude(Pruner):
    """Train densely; prune by magnitude once at the end.

    Parameters
    ----------
    network : the network.
    criterion : `layer-std` compares |w| with a multiple of the standard deviation of its layer, as Han et al. do;
        `global` compares |w| itself across all layers.
    compression : keep exactly `round(size / compression)` weights: the threshold, alike in all layers up to the
        criterion's scale, is what gives that number. None: use `quality`.
    quality : keep |w| > quality x standard deviation of the layer (`layer-std`), or quality x that of all (`global`).
    """

    name = "magnitude"

    def __init__(
        self,
        network: Network,
        criterion: str = "global",
        compression: float | None = None,
        quality: float = 2.0,
    ) -> None:
        super().__init__(network)
        if compression == 0:
            raise ValueError("compression must be at least 1, or None to use the quality, not 0")
        # The settings of the command are the same numbers, with the same ranges.
        MagnitudeConfig(criterion=criterion, compression=compression or 0.0, quality=quality)
        self.criterion, self.compression, self.quality = criterion, compression, quality
        self._masks: Masks | None = None

    def masks(self) -> Masks:
        """Before `finalise`: everything; after it: what was kept."""
        return super().masks() if self._masks is None else self._masks

    def finalise(self) -> Masks:
        weights = self.network.weights
        flat = np.concatenate([weight.value.reshape(-1) for weight in weights])
        if self.criterion == "layer-std":
            scale = np.concatenate([np.full(weight.size, max(weight.value.std(), 1e-30)) for weight in weights])
        else:
            scale = np.full(flat.size, max(flat.std(), 1e-30))
        scores = np.abs(flat) / scale
        if self.compression is None:
            kept = scores > self.quality
        else:
            kept = keep_largest(scores, max(1, round(flat.size / self.compression)))
        bounds = np.cumsum([0, *(weight.size for weight in weights)])
        self._masks = {
            weight.name: kept[start:stop].reshape(weight.value.shape)
            for weight, start, stop in zip(weights, bounds, bounds[1:], strict=False)
        }
        return super().finalise()
