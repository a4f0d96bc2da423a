"""Arrays and a header in one `.npz` file: checkpoints, models and snapshots. No pickle is ever written or read."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npl0.declare import Npl0Error
from npl0.storage.files import brief, most_unpacked, replacing, reported

FORMAT = "npl0-1"
_HEADER = "header"
_REMEDIES = {
    "checkpoint": "delete it to start anew",
    "model": "name another, or make it again",
    "set of snapshots": "repeat the run to make it again",
}


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


def load_arrays(
    path: str | Path, kind: str = "checkpoint", room: Callable[[dict[str, Any]], int | None] = lambda header: None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the header and the arrays that `save_arrays` wrote; `kind` is one of _REMEDIES, as in the header.

    CheckpointError if the file is missing or damaged, or holds something else, or more bytes than `room(header)`.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path} does not exist")
    with reported(CheckpointError, f"{path} is damaged or not a {kind} of npl0's", _REMEDIES[kind]):
        header = json.loads(read_npz(path, 1 << 24, only=_HEADER)[_HEADER].tobytes())
        found = f"holds a {brief(header.get('kind'))} of format {brief(header.get('format'))}"
        if found != f"holds a {kind} of format {FORMAT}":
            raise ValueError(f"it {found}, not a {kind} of {FORMAT}, which this version of npl0 writes")
        arrays = read_npz(path, room(header))
        del arrays[_HEADER]
        if header.pop("arrays", None) != list(arrays):
            raise ValueError("its arrays are not those its header lists")
        return header, arrays


def read_npz(path: str | Path, room: int | None = None, only: str = "") -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` archive, or `only` one of them; damage raises exceptions of many types.

    ValueError if it declares contents of more than `room` bytes (default: what `most_unpacked` allows).
    """
    arrays: dict[str, np.ndarray] = {}
    room = most_unpacked(Path(path).stat().st_size) if room is None else room
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name, size = member.filename.removesuffix(".npy"), member.file_size
            if only not in ("", name):
                continue
            room -= size
            if room < 0:
                raise ValueError(f"{brief(name)} claims {size:,} bytes: if that is right, use numpy.savez uncompressed")
            # The other ways to pack, which NumPy does not use, unpack more than they are asked for.
            if name in arrays or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{brief(name)} is there twice, or is packed in an unusual way")
            with archive.open(member) as stream:
                # To the end, where zipfile compares the checksum; NumPy would stop where the array ends.
                arrays[name] = parse_npy(stream.read(size))
    return arrays


def parse_npy(content: bytes) -> np.ndarray:
    """Return the array in the content of a `.npy` file; damage raises exceptions of many types."""
    stream = io.BytesIO(content)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise ValueError("there are bytes behind its array")
    return array
