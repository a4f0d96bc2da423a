"""Files that may be compressed, and what messages and data sets call files."""

import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from npl0.data.dataset import DataError


def find_packed(folder: Path, name: str) -> Path | None:
    """Return the file `name` of a folder, or else `name.gz` or `name.xz`; None if none of them is there."""
    return next((path for suffix in ("", ".gz", ".xz") if (path := folder / (name + suffix)).is_file()), None)


def read_packed(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is gzip or xz data; DataError if it is unreadable or damaged."""
    damage: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if content.startswith(b"\x1f\x8b"):
        kind, decompress = "gzip", gzip.decompress
    elif content.startswith(b"\xfd7zXZ\x00"):
        import lzma  # here, because some builds of Python lack it, and only xz needs it

        kind, decompress, damage = "xz", lzma.decompress, (lzma.LZMAError,)
    else:
        return content
    try:
        return decompress(content)
    except damage as error:
        raise DataError(
            f"{path}: its {kind} data is cut or corrupted ({error}; {len(content)} bytes); fetch the file again"
        ) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the system cannot read."""
    return DataError(f"{path}: cannot be read ({error.strerror}); check path and permissions")


def listing(names: Iterable[str]) -> str:
    """Return the first dozen names in order, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(found[:12]) or "nothing") + more


def name_of(path: Path) -> str:
    """Return the name of a data set that is read from `path`: the folder's, or the file's without its suffixes."""
    path = Path(os.path.abspath(path))
    return (path.name if path.is_dir() else path.name.partition(".")[0]) or "data"
