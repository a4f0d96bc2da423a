"""Warnings about a pruning that fails without an error: a layer that collapses, died, or was hardly pruned."""

import math
import warnings
from itertools import pairwise

import numpy as np

from npl0.nn.network import Network

# Which weights are kept: bool arrays of the weights' shapes, by parameter name.
Masks = dict[str, np.ndarray]

# What to do, by trouble and method; where nothing stands, the method is not warned of the trouble.
_REMEDIES = {
    "died": {
        "l0": "lower l0_lambda, or this layer's with layer_lambda",
        "magnitude": "lower the compression, or try the other criterion",
    },
    "was hardly pruned": {
        "l0": "raise l0_lambda or train longer",
        "magnitude": "raise the compression or the quality",
    },
    "is collapsing": {
        "l0": "lower its lambda (--layer-lambda {layer}=0.5), make the ramp longer (--ramp-epochs), or start from a "
        "dense network (--init-from)",
        "magnitude": "lower the compression, or try the other criterion",
    },
}
HARDLY = 0.99
# A small layer (a first convolution) may well need all its weights.
SMALL_LAYER = 1000
# A layer with fewer live units than this share of all is a bottleneck, however many classes there are.
NARROW = 0.02


class PruningWarning(UserWarning):
    """The pruning goes wrong without failing: a layer collapses or died, or was hardly pruned."""


class Checkup:
    """Looks at the masks of one run and warns of every layer at most once for each trouble, and anew in a resumed run.

    Parameters
    ----------
    method : the method's name, for the remedy; methods that do not prune are never warned about.
    network : what is pruned.
    """

    def __init__(self, method: str, network: Network) -> None:
        self.method, self.needed = method, needed_units(network)
        self._said: set[tuple[str, str]] = set()

    def dead_layers(self, masks: Masks) -> None:
        """Warn of layers without any weight."""
        for name, mask in masks.items():
            if not mask.any():
                self._say(name, "died", f"none of its {mask.size:,} weights is left")

    def bottlenecks(self, masks: Masks) -> None:
        """Warn of layers that are about to die, while there is time to stop.

        What comes through too few live units hardly tells the classes apart; so little holds the gates open on either
        side, and more of them close. After a cut the retraining has nothing to go on from.
        """
        if not masks or self.method not in _REMEDIES["is collapsing"]:
            return
        # A dead layer was warned of already, and cuts off all others; units can be followed through a plain stack only.
        if not all(mask.any() for mask in masks.values()) or not _is_stack(masks):
            return
        links = unit_links(masks)
        alive = live_units(links)
        lacking: dict[str, str] = {}
        blamed: dict[str, str] = {}
        # The last layer's units are the classes, of which the data may have fewer than the network.
        for (name, link), (after, link_after) in pairwise(links.items()):
            if alive[name] >= self.needed[name]:
                continue
            units = len(link)
            lacking[name] = f"{alive[name]} of its {units:,} output units still lead from the input to the classes"
            written, read = int(link.any(axis=1).sum()), int(link_after.any(axis=0).sum())
            if min(written, read) >= self.needed[name]:
                continue
            # Of the two layers that a unit needs, the one that closed more of them is the bottleneck.
            if written <= read:
                blamed[name] = lacking[name]
            else:
                blamed[after] = f"it looks at {read} of the {units:,} units before it"
        if lacking and not blamed:
            # Enough are written and read, but not the same ones: the bottleneck is where the fewest weights are left.
            thinnest = min(lacking, key=lambda name: masks[name].sum())
            blamed[thinnest] = lacking[thinnest]
        for name, what in blamed.items():
            mask = masks[name]
            self._say(name, "is collapsing", f"{what}, with {int(mask.sum()):,} of {mask.size:,} weights")

    def unpruned_layers(self, masks: Masks) -> None:
        """Warn of layers that kept more than 99 % of their weights."""
        for name, mask in masks.items():
            kept = int(mask.sum())
            if kept > HARDLY * mask.size and mask.size > SMALL_LAYER:
                self._say(name, "was hardly pruned", f"{kept:,} of {mask.size:,} weights are left")

    def _say(self, name: str, trouble: str, details: str) -> None:
        remedy = _REMEDIES[trouble].get(self.method)
        if remedy is not None and (name, trouble) not in self._said:
            self._said.add((name, trouble))
            layer = name.partition(".")[0]
            warnings.warn(
                f"layer {layer} {trouble}: {details}; {remedy.format(layer=layer)}", PruningWarning, stacklevel=3
            )


def needed_units(network: Network) -> dict[str, float]:
    """Return with how many live units a layer is no bottleneck, by the name of its weight.

    What the next layer sees of them should be at least as many numbers as there are classes: a unit of a convolution
    gives it one for every position that is left before it. A layer that gives fewer by design may lose half of its
    units. And 2 % of the units should be alive in any case.
    """
    classes, layer, seen = network.output_shape[0], "", {}
    for row in network.summary():
        layer = row.name if row.weights else layer
        seen[layer] = math.prod(row.output_shape)
    needed = {}
    for weight in network.weights:
        units = len(weight.value)
        enough = math.ceil(classes * units / seen[weight.layer])
        needed[weight.name] = max(enough if enough <= units else units / 2, NARROW * units)
    return needed


def unit_links(masks: Masks) -> dict[str, np.ndarray]:
    """Return which units of the layer before, or input channels, every output unit has a weight from: bool (out, in).

    Parameters
    ----------
    masks : of layers that stand in this order, each on the units of the one before.
    """
    links: dict[str, np.ndarray] = {}
    inputs = 0
    for name, mask in masks.items():
        # A linear layer after a flattening has several inputs for each unit of the layer before.
        links[name] = mask.reshape(len(mask), inputs or mask.shape[1], -1).any(axis=2)
        inputs = len(mask)
    return links


def live_units(links: dict[str, np.ndarray]) -> dict[str, int]:
    """Count the output units of every layer to which links lead from the input, and from which to the output."""
    layers = list(links.values())
    reached, units = [], np.ones(layers[0].shape[1], bool)
    for link in layers:
        units = link[:, units].any(axis=1)
        reached.append(units)
    useful, units = [], np.ones(len(layers[-1]), bool)
    for link in reversed(layers):
        useful.append(units)
        units = link[units].any(axis=0)
    return {name: int((one & other).sum()) for name, one, other in zip(links, reached, reversed(useful), strict=True)}


def _is_stack(masks: Masks) -> bool:
    return all(mask.shape[1] % len(before) == 0 for before, mask in pairwise(masks.values()))
