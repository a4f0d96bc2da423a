"""Files that may be compressed, and what messages and data sets call files."""

import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from npl0.data.dataset import DataError
from npl0.storage.files import brief, most_unpacked, reported


def find_packed(folder: Path, name: str) -> Path | None:
    """Return the file `name` of a folder, or else `name.gz` or `name.xz`; None if none of them is there."""
    return next((path for suffix in ("", ".gz", ".xz") if (path := folder / (name + suffix)).is_file()), None)


def read_packed(path: Path, fault: str = "") -> bytes:
    """Return the content of a file, unpacked if it is gzip or xz data; DataError if it is unreadable or damaged.

    Damage is also what unpacks to more than `most_unpacked`; messages call it `fault`.
    """
    try:
        packed, content = open(path, "rb"), bytearray()  # noqa: SIM115
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from error
    with packed:
        xz = packed.peek(6).startswith(b"\xfd7zXZ\x00")
        if not xz and not packed.peek(6).startswith(b"\x1f\x8b"):
            return packed.read()
        fault = f"{path}: {fault or 'its ' + ('xz' if xz else 'gzip') + ' data is cut or corrupted'}"
        # Loaded here, because some builds of Python lack lzma, and only xz needs it.
        module = import_module("lzma" if xz else "gzip")
        with reported(DataError, fault, "fetch the file again"), module.open(packed) as stream:
            while block := stream.read(1 << 20):
                content += block
                if len(content) > most_unpacked(packed.tell()):
                    raise ValueError("it unpacks to a hundred times its size: unpack it first, if that is right")
    return bytes(content)


def listing(names: Iterable[str]) -> str:
    """Return the first dozen names in order, and how many more there are."""
    found = sorted(map(brief, names))
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(found[:12]) or "nothing") + more


def name_of(path: Path) -> str:
    """Return the name of a data set that is read from `path`: the folder's, or the file's without its suffixes."""
    path = Path(os.path.abspath(path))
    return (path.name if path.is_dir() else path.name.partition(".")[0]) or "data"
