"""Files that are replaced whole, and a lock that keeps two processes from doing the same work."""

import errno
import importlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from filelock import FileLock, Timeout

from npl0.declare import Npl0Error

POLL_INTERVAL = 0.2  # seconds between two attempts to take a lock
# What a file system without locks answers, as on some clusters.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block ends without an error.

    Readers therefore see either the old file or the whole new one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # A write that fails on a full disk names no file, and one into a missing folder names the temporary one.
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replace a text file with `text`, in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def filled_page(package: str, name: str, data: Any) -> str:
    """Return the page `name`.html of a package's folder `files`, with its style, its script and the data filled in."""
    folder = files(package) / "files"
    page, style, script = ((folder / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    # Nothing in the data may end the script element that holds them.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return Template(page).substitute(style=style, script=script, data=text)


def most_unpacked(size: int) -> int:
    """Return to how many bytes a file of `size` bytes may unpack: images are never packed into a hundredth."""
    return (1 << 24) + 100 * size


@contextmanager
def reported(kind: type[Exception], fault: str, remedy: str) -> Iterator[None]:
    """Make a one-line error of class `kind` of whatever damaged data let the block raise."""
    try:
        yield
    except (kind, Npl0Error):
        raise
    except Exception as error:
        raise kind(f"{fault} ({brief(error)}); {remedy}") from error


def brief(value: Any) -> str:
    """Return the text of a value or an error in at most 200 printable characters, or its class if there is none."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:200]) or type(value).__name__


def optional(module: str) -> Any:
    """Import a module of a package of the extra `export`; Npl0Error says how to install it, if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise Npl0Error(f"this needs {package}, of the extra `export`: pip install {package}") from error


@contextmanager
def locked(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path` during the block; if another process holds it, wait.

    `waiting` is called once, with the name of the process that holds the lock, if there is something to wait for.
    The operating system releases the lock when its process ends, so a file left behind locks nobody out. Where the file
    system has no locks, the block runs without one. OSError if the file cannot be opened or is a symbolic link.
    """
    # The soft lock that filelock falls back to would outlive a killed process.
    lock = FileLock(path, poll_interval=POLL_INTERVAL, fallback_to_soft=False, on_acquired=_write_holder)
    try:
        try:
            lock.acquire(timeout=POLL_INTERVAL)
        except Timeout:
            waiting(_read_holder(path))
            lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        # Deleted while it is held: afterwards it may be another process's. Windows does not delete open files.
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
        lock.release()


def _write_holder(descriptor: int) -> None:
    # The name only informs those who wait: a full disk must not keep the lock from working.
    with suppress(OSError):
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}".encode())


def _read_holder(path: Path) -> str:
    try:
        number, host = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return "another process"
    return f"process {number}" + ("" if host == socket.gethostname() else f" on {host}")
