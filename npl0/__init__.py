"""npl0: L0-regularised, fine-grained neural-network pruning on NumPy, SciPy and Numba, every backward by hand.

`import npl0` loads nothing: the names below come from `npl0.runs.fit` at their first use, so that the command line starts
at once.
"""

# ruff: noqa: F403, F405 - the star is for type checkers; the names are checked by a test.
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npl0.runs.fit import *

__version__ = "0.1.0"

__all__ = [
    "L0",
    "SGD",
    "Adam",
    "AvgPool2d",
    "BatchNorm",
    "CheckpointError",
    "ConfigError",
    "Conv2d",
    "DataError",
    "Dataset",
    "DivergedError",
    "Dropout",
    "EpochRow",
    "FixedMask",
    "Flatten",
    "Layer",
    "Linear",
    "Magnitude",
    "Masks",
    "MaxPool2d",
    "Network",
    "Observer",
    "Parameter",
    "ParameterGroup",
    "Progress",
    "Pruner",
    "ReLU",
    "Stage",
    "Standardise",
    "Workers",
    "apply_masks",
    "build_lenet5",
    "build_lenet300",
    "build_model",
    "build_vgg16",
    "count_correct",
    "density",
    "fit",
    "fold_batchnorm",
    "load_dataset",
    "load_model",
    "measure_layers",
    "save_model",
    "train_stage",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'npl0' has no attribute {name!r}")
    from npl0.runs import fit as public

    value = globals()[name] = getattr(public, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
