"""Settings in place of the defaults of `npl0.config`, by model and method."""

from typing import Any

# Settings that were chosen on a validation split for one model and method; `experiments/README.md` says how.
PRESETS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
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
}

# `--quick`: the whole flow in under a minute, for a first look.
QUICK: dict[str, dict[str, Any]] = {
    "train": {"epochs": 2},
    "l0": {"ramp_epochs": 1.0, "gate_learning_rate": 0.15},
    "magnitude": {"compression": 20.0},
    "retrain": {"epochs": 1},
}
