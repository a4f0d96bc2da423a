"""Checkpoints: with the call that made it, all that the rest of a training depends on."""

from pathlib import Path
from typing import Any

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.storage.archive import CheckpointError, load_arrays, save_arrays
from npl0.training.optimizers import Optimizer


def save_checkpoint(path: Path, header: dict[str, Any], network: Network, pruner: Pruner, optimizer: Optimizer) -> None:
    """Write the state of a training, and a header of JSON values, atomically."""
    parts = {"network": network, "pruner": pruner, "optimizer": optimizer}
    arrays = {f"{part}.{name}": array for part, holder in parts.items() for name, array in holder.state().items()}
    save_arrays(path, {"kind": "checkpoint", **header}, arrays)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Return the header of a checkpoint, and its arrays by part: `network`, `pruner` and `optimizer`.

    Raises
    ------
    CheckpointError
        If the file is damaged or no checkpoint.
    """
    header, arrays = load_arrays(path)
    if header.get("kind") != "checkpoint":
        raise CheckpointError(f"{path} is no checkpoint but a {header.get('kind')}; name another file")
    parts: dict[str, dict[str, np.ndarray]] = {"network": {}, "pruner": {}, "optimizer": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    return header, parts
