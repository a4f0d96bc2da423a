"""The network that a run starts from in place of a random one (`--init-from`)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npl0.storage.archive import CheckpointError
from npl0.settings.sections import ConfigError, RunConfig
from npl0.storage.model_file import find_model, load_model
from npl0.nn.network import Network


@dataclass(frozen=True)
class Start:
    """Parameters and buffers to start from, the file they come from and what identifies its content.

    A run clears the arrays when it has begun.
    """

    path: str
    sha256: str
    arrays: dict[str, np.ndarray]

    @property
    def origin(self) -> dict[str, str]:
        """What a checkpoint and a result record."""
        return {"path": self.path, "sha256": self.sha256}


def start_exists(source: str) -> bool:
    """Return whether there is a file to start from, sound or not."""
    try:
        return find_model(source).is_file()
    except CheckpointError:
        return False


def load_start(config: RunConfig, network: Network) -> Start:
    """Read the arrays of the model that a configuration starts from.

    Parameters
    ----------
    config : its `init_from` names a model.npz, or the run folder that holds one.
    network : what they are for; it is only looked at.

    Raises
    ------
    CheckpointError
        If there is no such model, or it is damaged.
    ConfigError
        If it is that of another network, or may have been trained on what is the validation split here.
    """
    source = config.init_from
    if not Path(source).exists():
        raise CheckpointError(
            f"cannot start from {source}: it does not exist (the current directory is {Path.cwd()}); name a finished "
            "run or its model.npz"
        )
    try:
        path = find_model(source)
        stored, header = load_model(path)
    except CheckpointError as error:
        raise CheckpointError(f"cannot start from {source}: {error}") from error
    try:
        network.check_state(stored.state())
    except ValueError as error:
        what = error if stored.name == network.name else f"it holds a {stored.name}, and this run trains {network.name}"
        raise ConfigError(
            f"cannot start from {source}: {what}; use its --model and --width, or start from another run"
        ) from error
    if config.validation and _split(header.get("settings", {})) != _split(config.used()):
        raise ConfigError(
            f"cannot start from {source}: it was not trained with --data {config.data} --validation "
            f"{config.validation} --seed {config.seed}, so it may have seen images that are set aside here; train it so"
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Start(str(path), digest, stored.state())


def _split(settings: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides which images are set aside."""
    return tuple(settings.get(key) for key in ("data", "validation", "seed"))
