"""A lock file, so that of several processes one does a piece of work and the others wait for it."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

if os.name == "nt":
    import msvcrt
else:
    import fcntl

# Seconds between two looks at a lock that another process holds.
LOOK_EVERY = 0.2
# How systems say that a lock is taken.
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# And that they have none on this file system, as some of clusters.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# Windows locks bytes, and lets nobody read one that is locked; this one is none of the text's.
_LOCKED_BYTE = 1 << 20


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path` during the block, waiting until whoever has it is done.

    The lock is the system's, which gives it back when its process ends, however that is; the file that is locked only
    tells who holds it. So a file that was left behind locks nothing, and a process that sleeps keeps its lock. On a
    file system without locks nobody is locked out.

    Parameters
    ----------
    path : the lock file.
    waiting : called once, with the process that holds the lock, if there is something to wait for.

    Raises
    ------
    OSError
        If the lock file cannot be made.
    """
    file = _acquire(path, waiting)
    try:
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}")
        file.flush()
        yield
    finally:
        # Deleted while it is held, so that it is nobody else's; Windows does not delete an open file.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
        file.close()


def _acquire(path: Path, waiting: Callable[[str], None]) -> IO[str]:
    looks = 0
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock is held
        try:
            # Whoever held it before may have deleted the file that was opened here.
            if _take(file) and _is_at(path, file):
                return file
            # Told at the second look: at the first its holder may not have written its name yet, or be done at once.
            looks += 1
            if looks == 2:
                waiting(_holder(file))
        except BaseException:
            file.close()
            raise
        file.close()
        time.sleep(LOOK_EVERY)


def _take(file: IO[str]) -> bool:
    """Lock an open file; return whether it could be had."""
    try:
        if os.name == "nt":
            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> str:
    file.seek(0)
    number, _, host = file.read().partition(" ")
    # The file is empty for a moment, before its holder has written into it.
    if not number.isdigit():
        return "another process"
    return f"process {number}{'' if host == socket.gethostname() else f' on {host}'}"
