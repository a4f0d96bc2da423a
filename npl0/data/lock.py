"""A lock file, so that of several processes one does a piece of work and the others wait for it."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Seconds after which a lock that nobody touches is taken for left behind; a download touches its own all the time.
STALE_AFTER = 120.0
# Seconds between two looks at a lock that another process holds.
LOOK_EVERY = 0.2


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[str], None]) -> Iterator[Path]:
    """Hold the lock file `path` during the block, waiting until whoever has it is done.

    Parameters
    ----------
    path : the lock file. The block should `touch` it more often than every `STALE_AFTER` seconds.
    waiting : called once, with the process that holds the lock, if there is something to wait for.

    Raises
    ------
    OSError
        If the lock file cannot be made.

    Notes
    -----
    A lock is left behind if its process was killed. It is recognised by a process of this machine that is gone or, for
    other machines that share the folder, by its age. Two processes that break one stale lock in the same instant could
    both go on; so what the lock guards must stay correct then, and only be done twice.
    """
    looks = 0
    while True:
        try:
            with open(path, "x", encoding="utf-8") as file:  # "x" is O_CREAT | O_EXCL: one process succeeds
                file.write(f"{os.getpid()} {socket.gethostname()}")
            break
        except FileExistsError:
            holder = _holder(path)
        if holder is None:
            path.unlink(missing_ok=True)
            continue
        # Told at the second look: at the first its maker may not have written its name yet, or be done at once.
        looks += 1
        if looks == 2:
            waiting(holder)
        time.sleep(LOOK_EVERY)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _holder(path: Path) -> str | None:
    """Return who holds a lock, in words; None if it is stale."""
    try:
        age = time.time() - path.stat().st_mtime
        number, _, host = path.read_text(encoding="utf-8").partition(" ")
    except FileNotFoundError:
        return "a process that is just done"
    here = host == socket.gethostname()
    if age > STALE_AFTER or (here and number.isdigit() and not _alive(int(number))):
        return None
    # The file is empty for a moment, before its maker has written into it.
    return f"process {number}{'' if here else f' on {host}'}" if number.isdigit() else "another process"


def _alive(number: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere signal 0 is not a question but a signal; there, the age alone decides
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
