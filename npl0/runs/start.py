"""The trained network that a run starts from in place of a random one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npl0.declare import ConfigError
from npl0.nn.network import Network
from npl0.nn.parameter import check_arrays
from npl0.settings.sections import RunConfig
from npl0.storage.archive import CheckpointError
from npl0.storage.model_file import find_model, load_model


@dataclass(frozen=True)
class Start:
    """The arrays of a network to start from; `origin` holds the `path` and the `sha256` of their file."""

    origin: dict[str, str]
    arrays: dict[str, np.ndarray]


def digest_start(source: str) -> str | None:
    """Return the SHA-256 of the model file that a run or a path stands for; None if it is not there any more."""
    try:
        return _sha256(find_model(source))
    except (CheckpointError, OSError):
        return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_start(config: RunConfig, network: Network) -> Start:
    """Read the arrays of the model that `config.init_from` names; `network`, that of the run, is not modified.

    CheckpointError if there is no such model, or it is damaged; ConfigError if it belongs to another network, or may
    have been trained on this run's validation images.
    """
    source = config.init_from
    try:
        path = find_model(source)
        stored = load_model(path)
    except CheckpointError as error:
        raise CheckpointError(f"cannot start from {source}: {error}") from error
    # A run computes in float32; the weights of a model in float64 are rounded.
    types = {name: array.dtype for name, array in network.state().items()}
    arrays = {name: array.astype(types.get(name, array.dtype)) for name, array in stored.state().items()}
    try:
        check_arrays(network.name, network.state(), arrays)
    except ValueError as error:
        what = error if stored.name == network.name else f"it holds a {stored.name}, and this run trains {network.name}"
        raise ConfigError(
            f"cannot start from {source}: {what}; use its --model and --width, or start from another run"
        ) from error
    if config.validation and _split(stored.header.get("settings", {})) != _split(config.used()):
        raise ConfigError(
            f"cannot start from {source}: it was not trained with --data {config.data} --validation "
            f"{config.validation} --seed {config.seed}, so it may have seen the images that this run holds out"
        )
    return Start({"path": str(path), "sha256": _sha256(path)}, arrays)


def _split(settings: dict[str, Any]) -> tuple[Any, ...]:
    """Return the settings that decide which images are held out."""
    return tuple(settings.get(key) for key in ("data", "validation", "seed"))
