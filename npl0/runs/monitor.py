"""Warnings about a pruning that goes wrong without an error: a layer that dies, collapses, or is hardly pruned."""

import math
import re
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.pruning.live import live_masks
from npl0.pruning.masks import Masks

DIED, COLLAPSING, UNPRUNED = "died", "is collapsing", "was hardly pruned"

# A layer that keeps a larger fraction than this was hardly pruned, unless it is as small as a first convolution.
HARDLY_PRUNED = 0.99
SMALL_LAYER = 1000
# A layer with fewer live units than this fraction of all is a bottleneck, however few classes there are.
NARROW = 0.02


class PruningWarning(UserWarning):
    """A layer died, is collapsing, or was hardly pruned.

    Parameters
    ----------
    finding : what happened.
    remedy : what to do; settings stand in it as `{name}`, so that each interface can write them in its own way.
    """

    def __init__(self, finding: str, remedy: str) -> None:
        super().__init__(finding, remedy)
        self.finding, self.remedy = finding, remedy

    def text(self, spell: Callable[[str], str] = str) -> str:
        """Return finding and remedy, with `spell(name)` for every setting."""
        remedy = re.sub(r"\{(\w+)\}", lambda match: spell(match[1]), self.remedy)
        return f"{self.finding}; {remedy}"

    def __str__(self) -> str:
        return self.text()


class CollapseMonitor:
    """Looks at the masks of a training, and warns at most once for each layer and trouble.

    Parameters
    ----------
    network : the network that is pruned.
    remedies : the remedy by trouble, as pruners have them; a trouble that is not in it is not reported.
    """

    def __init__(self, network: Network, remedies: Mapping[str, str]) -> None:
        self.remedies, self.needed = remedies, needed_units(network)
        self._reported: set[tuple[str, str]] = set()

    def watch(self, masks: Masks) -> None:
        """Warn of layers that died or are collapsing."""
        for name, mask in masks.items():
            if not mask.any():
                self._warn(name, DIED, f"none of its {mask.size:,} weights is left")
        self._bottlenecks(masks)

    def review(self, masks: Masks) -> None:
        """Warn, once the pruning is over, also of layers that kept almost all their weights."""
        self.watch(masks)
        for name, mask in masks.items():
            kept = int(mask.sum())
            if kept > HARDLY_PRUNED * mask.size and mask.size > SMALL_LAYER:
                self._warn(name, UNPRUNED, f"{kept:,} of {mask.size:,} weights are left")

    def _bottlenecks(self, masks: Masks) -> None:
        """Warn of layers that are about to die, while there is time to stop.

        Through too few live units hardly any information about the classes passes, so little holds the gates on either
        side open, and more of them close. After a one-time cut, retraining has nothing to start from.
        """
        if not masks or COLLAPSING not in self.remedies:
            return
        # A dead layer cuts off all others and was reported already.
        if not all(mask.any() for mask in masks.values()) or (live := live_masks(masks)) is None:
            return
        # The last layer's units are the classes, of which the data may have fewer than the network.
        for name, after in pairwise(masks):
            alive = int(live[name].any(axis=tuple(range(1, live[name].ndim))).sum())
            if alive < self.needed[name]:
                # A unit needs weights in two layers; the one that has pruned more of them is to blame.
                blamed = min(name, after, key=lambda layer: masks[layer].mean())
                kept, size = int(masks[blamed].sum()), masks[blamed].size
                where = f"between {name.partition('.')[0]} and {after.partition('.')[0]}"
                finding = f"{alive} of the {len(masks[name]):,} units {where} lie on a path from input to output"
                self._warn(blamed, COLLAPSING, f"{finding}, and {kept:,} of its {size:,} weights are left")

    def _warn(self, name: str, trouble: str, details: str) -> None:
        if trouble in self.remedies and (name, trouble) not in self._reported:
            self._reported.add((name, trouble))
            layer = name.partition(".")[0]
            warning = PruningWarning(f"layer {layer} {trouble}: {details}", self.remedies[trouble])
            warnings.warn(warning, stacklevel=4)


def warn_of_zeros(pruner: Pruner, remedy: str) -> None:
    """Warn that a training is about to change weights that are exactly 0, if a tenth of them or more is.

    Weights that were drawn or trained are never exactly 0 by chance, so they were pruned.
    """
    weights = pruner.free_weights()
    size, zeros = sum(w.size for w in weights), sum(w.size - np.count_nonzero(w.value) for w in weights)
    if pruner.stage != "retrain" and size / 10 <= zeros < size:
        finding = f"{zeros:,} of {size:,} weights are exactly 0, as pruning leaves them, and this training changes them"
        warnings.warn(PruningWarning(finding, remedy), stacklevel=3)


def needed_units(network: Network) -> dict[str, float]:
    """Return how many live units each layer needs in order not to be a bottleneck, by the name of its weight.

    The next layer should see at least as many numbers as there are classes; a unit of a convolution gives one number
    for every position that is left before the next layer. A layer that has fewer by design may lose half of its units.
    In any case 2 % of the units should be alive.
    """
    classes, layer, values_seen = network.output_shape[0], "", {}
    for row in network.summary():
        layer = row.name if row.weights else layer
        values_seen[layer] = math.prod(row.output_shape)
    needed = {}
    for weight in network.weights:
        units = len(weight.value)
        enough = math.ceil(classes * units / values_seen[weight.layer])
        needed[weight.name] = max(enough if enough <= units else units / 2, NARROW * units)
    return needed
