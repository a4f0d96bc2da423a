"""The network that a run starts from in place of a random one (`--init-from`)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npl0.checkpoint import CheckpointError
from npl0.config import ConfigError
from npl0.model_file import find_model, load_model
from npl0.nn.network import Network


@dataclass(frozen=True)
class Start:
    """Parameters and buffers to start from, the file they come from and what identifies its content."""

    path: str
    sha256: str
    arrays: dict[str, np.ndarray]

    @property
    def origin(self) -> dict[str, str]:
        """What a result records."""
        return {"path": self.path, "sha256": self.sha256}


def load_start(source: str, network: Network) -> Start:
    """Read the arrays of a model file, or of a finished run's.

    Parameters
    ----------
    source : a model.npz or the run folder that holds one.
    network : what they are for; it gets them already.

    Raises
    ------
    CheckpointError
        If there is no such model, or it is damaged.
    ConfigError
        If it is that of another network.
    """
    if not Path(source).exists():
        raise CheckpointError(f"cannot start from {source}: it does not exist; name a finished run or its model.npz")
    try:
        path = find_model(source)
        stored, _ = load_model(path)
    except CheckpointError as error:
        raise CheckpointError(f"cannot start from {source}: {error}") from error
    try:
        network.load_state(stored.state())
    except ValueError as error:
        what = error if stored.name == network.name else f"it holds a {stored.name}, and this run trains {network.name}"
        raise ConfigError(
            f"cannot start from {source}: {what}; use its --model and --width, or start from another run"
        ) from error
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Start(str(path), digest, stored.state())
