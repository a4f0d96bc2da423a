"""Masks: which weights are kept."""

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
