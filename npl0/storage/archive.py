"""Arrays and a header in one `.npz` file: checkpoints and models. No pickle is ever written or read."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from npl0.storage.files import replacing

FORMAT = "npl0-1"
_HEADER = "header"
# What zipfile, zlib and NumPy's reader raise for bytes that are not what they should be.
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, RuntimeError, SyntaxError)
_REMEDIES = {"a checkpoint": "delete it to start anew", "a model": "name another, or make it again"}


class CheckpointError(ValueError):
    """A file is damaged, or not one of npl0's, or belongs to something else; the message names the remedy."""


def save_arrays(
    path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray], compress: bool = False
) -> None:
    """Write arrays by name, and a header of plain JSON values, atomically."""
    # The zip format's checksums cover what its members hold, not their names; so the names are kept twice.
    text = json.dumps({"format": FORMAT, "arrays": list(arrays), **header})
    content = {_HEADER: np.frombuffer(text.encode(), np.uint8), **arrays}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **content)


def load_arrays(path: str | Path, what: str = "a checkpoint") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save_arrays` wrote; every member's checksum is verified.

    Parameters
    ----------
    path : the file.
    what : `a checkpoint` or `a model`; what messages call the file, and what remedy they name.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or not one of npl0's.
    """
    path, remedy = Path(path), _REMEDIES[what]
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        arrays = _read_members(path)
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged or not {what} of npl0's ({error}); {remedy}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by this version of npl0 (format {FORMAT}); {remedy}")
    if header.pop("arrays", None) != list(arrays):
        raise CheckpointError(f"{path} is damaged (its arrays are not those its header lists); {remedy}")
    return header, arrays


def _read_members(path: Path) -> dict[str, np.ndarray]:
    # Opened here, because NumPy leaves a damaged archive open when it fails.
    with open(path, "rb") as file:
        # NumPy would take anything but an archive for a pickle, and advise to allow it.
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("not an .npz archive")
        file.seek(0)
        archive = np.load(file, allow_pickle=False)
        with archive:
            return {name: archive[name] for name in archive.files}


def select(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def prefixed(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays with `prefix` before every name."""
    return {prefix + name: array for name, array in arrays.items()}
