"""Masks: which weights are kept."""

import numpy as np

from npl0.nn.network import Network

# Bool arrays of the shapes of the weights, True for a kept weight, by parameter name.
Masks = dict[str, np.ndarray]


def masks_of(network: Network) -> Masks:
    """Return the masks of a pruned network: they keep the weights that are not 0."""
    return {weight.name: weight.value != 0 for weight in network.weights}


def check_masks(network: Network, masks: Masks) -> None:
    """Raise ValueError unless the masks have the names and shapes of the weights of the network, and are bool."""
    shapes = {weight.name: weight.value.shape for weight in network.weights}
    if not isinstance(masks, dict) or shapes.keys() != masks.keys():
        found = ", ".join(map(str, masks)) if isinstance(masks, dict) else f"a {type(masks).__name__}"
        raise ValueError(f"masks are needed for {', '.join(shapes)}, but were given for {found}")
    for name, mask in masks.items():
        found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else f"a {type(mask).__name__}"
        if found != f"bool {shapes[name]}":
            raise ValueError(f"the mask of {name} must be bool of shape {shapes[name]}, not {found}")


def apply_masks(network: Network, masks: Masks) -> None:
    """Set every weight that is not kept to zero; ValueError if `check_masks` raises it."""
    check_masks(network, masks)
    for weight in network.weights:
        weight.value[~masks[weight.name]] = 0


def density(masks: Masks) -> float:
    """Return the number of kept weights divided by that of all; ValueError unless they are masks."""
    if not isinstance(masks, dict) or {getattr(mask, "dtype", None) for mask in masks.values()} != {np.dtype(bool)}:
        raise ValueError("density takes bool arrays by name, at least one, as masks_of(network) returns them")
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.size for mask in masks.values())
