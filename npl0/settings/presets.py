"""Settings in place of the defaults of `npl0.settings.sections`, by model and method: top-level ones, and sections of others."""

from typing import Any

# The usual recipe of VGG-16 on CIFAR-10, with a one-cycle schedule for being short. The other settings of VGG-16 are
# those of a pilot at width 0.25, with the epochs and the lambda of the full width (`docs/deep-networks.md`).
_VGG16_TRAIN = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "schedule": "one-cycle",
    "weight_decay": 5e-4,
    "shift": 4,
    "flip": 0.5,
}

# `experiments/README.md` says how the settings of the LeNets were chosen on a validation split.
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("lenet5", "magnitude"): {
        "train": {"learning_rate": 1e-3},
        "retrain": {"learning_rate": 2e-2, "schedule": "one-cycle"},
    },
    ("lenet300", "l0"): {
        "train": {"epochs": 40},
        "l0": {"l0_lambda": 8.4, "ramp_epochs": 12.0},
        "retrain": {"epochs": 8},
    },
    ("lenet300", "magnitude"): {"train": {"epochs": 40}, "retrain": {"epochs": 8}},
    ("lenet300", "dense"): {"train": {"epochs": 40}},
    ("vgg16", "l0"): {
        "data": "cifar10",
        "train": {**_VGG16_TRAIN, "epochs": 18},
        "l0": {"l0_lambda": 1.5, "log_alpha_init": 2.9, "ramp_epochs": 8.0},
        "retrain": {"epochs": 3, "learning_rate": 1e-2, "weight_decay": 5e-4},
    },
    ("vgg16", "magnitude"): {
        "data": "cifar10",
        "train": {**_VGG16_TRAIN, "epochs": 16},
        # One threshold for all layers would leave the last convolutions next to nothing: their weights are small.
        "magnitude": {"criterion": "layer-std", "compression": 30.0},
        # As many as the 8 + 3 that L0 takes from a dense start.
        "retrain": {"epochs": 11, "learning_rate": 3e-2, "weight_decay": 5e-4, "schedule": "one-cycle"},
    },
    ("vgg16", "dense"): {"data": "cifar10", "train": {**_VGG16_TRAIN, "epochs": 16}},
}

# What changes where a trained network is the start (`--init-from`): it needs a short way to its sparse form, or none.
INIT_PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("vgg16", "l0"): {"train": {"epochs": 8, "learning_rate": 3e-2}, "l0": {"ramp_epochs": 3.0}},
    ("vgg16", "magnitude"): {"train": {"epochs": 0}},
}

# `--quick`: the whole flow for a first look, in under a minute for the LeNets; a preset that trains less stays.
QUICK: dict[str, dict[str, Any]] = {
    "train": {"epochs": 2},
    "l0": {"ramp_epochs": 1.0, "gate_learning_rate": 0.15},
    "magnitude": {"compression": 20.0},
    "retrain": {"epochs": 1},
}
