"""Settings that replace the defaults, by model and method: top-level ones, and sections of others."""

import math
from typing import Any

Preset = dict[str, Any]

# The usual recipe of VGG-16 on CIFAR-10, with a one-cycle schedule because it is short. The other settings of VGG-16
# come from a pilot at width 0.25, with the epochs and the lambda of the full width (`docs/deep-networks.md`).
MODEL_PRESETS: dict[str, Preset] = {
    "lenet5": {"train": {"shift": 1}},
    "lenet300": {"train": {"shift": 1, "epochs": 40}},
    "vgg16": {
        "data": "cifar10",
        "train": {
            "epochs": 16,
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "schedule": "one-cycle",
            "weight_decay": 5e-4,
            "shift": 4,
            "flip": 0.5,
        },
    },
}

# `docs/results.md` says how the settings of the LeNets were chosen on a validation split.
METHOD_PRESETS: dict[tuple[str, str], Preset] = {
    ("lenet5", "magnitude"): {
        "train": {"learning_rate": 1e-3},
        "retrain": {"learning_rate": 2e-2, "schedule": "one-cycle"},
    },
    ("lenet300", "l0"): {"l0": {"l0_lambda": 8.4, "ramp_epochs": 12.0}, "retrain": {"epochs": 8}},
    ("lenet300", "magnitude"): {"retrain": {"epochs": 8}},
    ("vgg16", "l0"): {
        "train": {"epochs": 18},
        "l0": {"l0_lambda": 1.5, "log_alpha_init": 2.9, "ramp_epochs": 8.0},
        "retrain": {"epochs": 3, "learning_rate": 1e-2, "weight_decay": 5e-4},
    },
    ("vgg16", "magnitude"): {
        # One threshold for all layers would leave the last convolutions next to nothing: their weights are small.
        "magnitude": {"criterion": "layer-std", "compression": 30.0},
        # As many epochs as the 8 + 3 that L0 takes from a dense start.
        "retrain": {"epochs": 11, "learning_rate": 3e-2, "weight_decay": 5e-4, "schedule": "one-cycle"},
    },
}

# Where a trained network is the start, the way to the sparse network is short, or there is none.
INIT_PRESETS: dict[tuple[str, str], Preset] = {
    ("vgg16", "l0"): {"train": {"epochs": 8, "learning_rate": 3e-2}, "l0": {"ramp_epochs": 3.0}},
    ("vgg16", "magnitude"): {"train": {"epochs": 0}},
}

# The whole flow for a first look, in under a minute for the LeNets; a preset with fewer epochs keeps them.
QUICK: Preset = {
    "train": {"epochs": 2},
    "l0": {"ramp_epochs": 1.0, "gate_learning_rate": 0.15},
    "magnitude": {"compression": 20.0},
    "retrain": {"epochs": 1},
}


def presets_of(model: Any, method: Any, init_from: bool, quick: bool) -> list[Preset]:
    """Return the presets that apply, each before those that override it."""
    presets = [MODEL_PRESETS.get(model, {}), METHOD_PRESETS.get((model, method), {})]
    if init_from:
        presets.append(INIT_PRESETS.get((model, method), {}))
    if not quick:
        return presets
    shortened = {name: dict(values) for name, values in QUICK.items()}
    for stage in ("train", "retrain"):
        for preset in presets:
            epochs = preset.get(stage, {}).get("epochs", math.inf)
            shortened[stage]["epochs"] = min(shortened[stage]["epochs"], epochs)
    return [*presets, shortened]
