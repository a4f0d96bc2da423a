"""Arrays and a header in one `.npz` file: checkpoints and models. No pickle is ever written or read."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from npl0.files import replacing

FORMAT = "npl0-1"
_HEADER = "header"


class CheckpointError(ValueError):
    """A file is damaged, or not one of npl0's, or belongs to something else; the message names the remedy."""


def save_arrays(
    path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray], compress: bool = False
) -> None:
    """Write arrays by name, and a header of plain JSON values, atomically."""
    text = json.dumps({"format": FORMAT, **header})
    content = {_HEADER: np.frombuffer(text.encode(), np.uint8), **arrays}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **content)


def load_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save_arrays` wrote; every member's checksum is verified.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or not one of npl0's.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged or not a file of npl0 ({error}); delete it to start anew") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was not written by this version of npl0 (format {FORMAT}); delete it to start anew"
        )
    return header, arrays


def select(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def prefixed(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays with `prefix` before every name."""
    return {prefix + name: array for name, array in arrays.items()}
