"""Reading whole files that may be compressed, with messages that name the file."""

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

from npl0.data.dataset import DataError

GZIP_MAGIC, XZ_MAGIC = b"\x1f\x8b", b"\xfd7zXZ\x00"


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Return what to say of a file that the system does not let be read."""
    return DataError(f"{path}: cannot be read ({error.strerror}); check path and permissions")


def unpack(content: bytes, origin: str) -> bytes:
    """Return `content` without its gzip or xz wrapper, if it has one; DataError names `origin` if it is damaged."""
    if content.startswith(GZIP_MAGIC):
        try:
            return gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise _damaged(origin, "gzip", error, content) from error
    if content.startswith(XZ_MAGIC):
        import lzma  # here, because some builds of Python lack it, and only xz needs it

        try:
            return lzma.decompress(content)
        except lzma.LZMAError as error:
            raise _damaged(origin, "xz", error, content) from error
    return content


def _damaged(origin: str, kind: str, error: Exception, content: bytes) -> DataError:
    return DataError(
        f"{origin}: its {kind} data is cut or corrupted ({error}; {len(content)} bytes); fetch the file again"
    )


def listing(names: Iterable[str]) -> str:
    """Return the first dozen names in order, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(found[:12]) or "nothing") + more
