"""Masks: which weights are kept, and which units they leave connected to both input and output."""

from itertools import pairwise

import numpy as np

from npl0.nn.network import Network

# Bool arrays of the shapes of the weights, True for a kept weight, by parameter name.
Masks = dict[str, np.ndarray]


def apply_masks(network: Network, masks: Masks) -> None:
    """Set every weight that is not kept to zero; ValueError if the names, shapes or dtypes do not fit the network."""
    weights = {weight.name: weight for weight in network.weights}
    if weights.keys() != masks.keys():
        raise ValueError(f"masks are needed for {', '.join(weights)}, but were given for {', '.join(masks)}")
    for name, mask in masks.items():
        if mask.shape != weights[name].value.shape or mask.dtype != bool:
            raise ValueError(
                f"the mask of {name} must be bool of shape {weights[name].value.shape}, not {mask.dtype} {mask.shape}"
            )
        weights[name].value[~mask] = 0


def density(masks: Masks) -> float:
    """Return the number of kept weights divided by the number of all weights."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.size for mask in masks.values())


def is_chain(masks: Masks) -> bool:
    """Return whether each layer can stand directly on the one before: its inputs are a multiple of those outputs."""
    return all(mask.shape[1] % len(before) == 0 for before, mask in pairwise(masks.values()))


def unit_links(masks: Masks) -> dict[str, np.ndarray]:
    """Return, for each layer of a chain, which output units have a weight from which units of the layer before.

    Parameters
    ----------
    masks : masks of layers in the order of the forward pass, for which `is_chain` holds.

    Returns
    -------
    links : bool (outputs, inputs) by parameter name; units are filters in a convolution.
    """
    links: dict[str, np.ndarray] = {}
    inputs = 0
    for name, mask in masks.items():
        # A linear layer behind a flattening has several inputs for each unit of the layer before.
        links[name] = mask.reshape(len(mask), inputs or mask.shape[1], -1).any(axis=2)
        inputs = len(mask)
    return links


def live_units(links: dict[str, np.ndarray]) -> dict[str, int]:
    """Count, for each layer, the output units that lie on a path of links from the input to the output."""
    layers = list(links.values())
    reached, units = [], np.ones(layers[0].shape[1], bool)
    for link in layers:
        units = link[:, units].any(axis=1)
        reached.append(units)
    used, units = [], np.ones(len(layers[-1]), bool)
    for link in reversed(layers):
        used.append(units)
        units = link[units].any(axis=0)
    return {name: int((one & other).sum()) for name, one, other in zip(links, reached, reversed(used), strict=True)}
