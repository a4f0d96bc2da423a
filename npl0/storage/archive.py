"""Arrays and a header in one `.npz` file: checkpoints and models. No pickle is ever written or read."""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from npl0.runtime.settings import Npl0Error
from npl0.storage.files import replacing

FORMAT = "npl0-1"
_HEADER = "header"
# What zipfile, zlib and NumPy raise for a damaged file.
DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, RuntimeError, SyntaxError)
_REMEDIES = {"checkpoint": "delete it to start anew", "model": "name another, or make it again"}


class CheckpointError(Npl0Error, ValueError):
    """A checkpoint or model file is damaged, or was made by something else; the message names the remedy."""


def save_arrays(
    path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray], compress: bool = False
) -> None:
    """Replace a file with arrays by name and a header of plain JSON values."""
    # The checksums of the zip format cover the members' contents but not their names, so the header lists the names.
    text = json.dumps({"format": FORMAT, "arrays": list(arrays), **header})
    content = {_HEADER: np.frombuffer(text.encode(), np.uint8), **arrays}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **content)


def load_arrays(path: str | Path, kind: str = "checkpoint") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the header and the arrays that `save_arrays` wrote; `kind` is "checkpoint" or "model", as in the header.

    CheckpointError if the file is missing or damaged, or holds something else.
    """
    path, remedy = Path(path), _REMEDIES[kind]
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        arrays = read_npz(path)
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except DAMAGE as error:
        raise CheckpointError(f"{path} is damaged or not a {kind} of npl0's ({error}); {remedy}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        fault = f"was not written by this version of npl0 (format {FORMAT})"
    elif header.pop("arrays", None) != list(arrays):
        fault = "is damaged (its arrays are not those its header lists)"
    elif header.get("kind") != kind:
        fault = f"holds a {header.get('kind')}, not a {kind}"
    else:
        return header, arrays
    raise CheckpointError(f"{path} {fault}; {remedy}")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` archive; raise one of `DAMAGE` if it is unreadable, damaged, or holds pickles."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            # Each member is read to its end, where zipfile compares the checksum; NumPy stops where the array ends.
            content = io.BytesIO(archive.read(member))
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
            if content.read(1):
                raise ValueError(f"{member.filename} has bytes behind its array")
    return arrays
