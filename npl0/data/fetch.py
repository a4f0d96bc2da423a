"""Downloads into a cache: resumed when cut, checked before use, and done once when several processes ask.

A download is written under its name with `.part`, and renamed only when its checksum is right: what bears the final
name is whole. Everything is streamed, so memory does not grow with the file.
"""

import errno
import hashlib
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from npl0.data.dataset import DataError
from npl0.storage.files import locked

# Seconds without a byte after which a connection counts as cut, and the pauses before trying again.
TIMEOUT = 30.0
PAUSES = (1, 3, 9, 27)
_BLOCK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file that its publisher offers.

    Parameters
    ----------
    dataset : the name of the data set it is of, for messages.
    url : where it is; the last part is its name in the cache.
    size : its bytes.
    md5 : the checksum its publisher states, hexadecimal.
    """

    dataset: str
    url: str
    size: int
    md5: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[1]

    @property
    def by_hand(self) -> str:
        """How to do without the download, for messages."""
        return (
            f"get {self.name} another way and run `python -m npl0 data import {self.name}`, "
            "or name its folder with --data-dir"
        )


class _CutError(Exception):
    """The connection failed in a way that may be gone at the next try."""


def cache_directory() -> Path:
    """Return the folder of downloaded data: `NPL0_DATA`, or else `npl0` in the platform's cache folder."""
    if own := os.environ.get("NPL0_DATA"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "npl0"


def fetch(
    remote: RemoteFile,
    folder: Path,
    offline: bool = False,
    quiet: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Return the path of a file in the cache, downloading it first if it is not there.

    Parameters
    ----------
    remote : what to fetch.
    folder : the cache; it is made if need be.
    offline : never touch the network; so does the environment variable `NPL0_OFFLINE=1`.
    quiet : no progress and no notes on stderr.
    pause : waits the given number of seconds between two tries.

    Raises
    ------
    DataError
        If the file is not there and the network is not to be touched, refuses it or keeps breaking off; if what came
        has another checksum (it is kept aside); if the folder cannot be written or the disk is full. What was
        downloaded until then is kept, and the next call continues it.
    """
    target = folder / remote.name
    if target.exists():
        return target
    if offline or os.environ.get("NPL0_OFFLINE", "0") not in ("", "0"):
        raise DataError(
            f"{remote.dataset} is not in the cache {folder}, and the network is off (--offline, offline=True or "
            f"NPL0_OFFLINE): run `python -m npl0 data fetch {remote.dataset}` with the network on, or {remote.by_hand}"
        )

    def say(line: str) -> None:
        if not quiet:
            tqdm.write(line, file=sys.stderr)

    part = target.with_name(f"{target.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f"{target.name}.lock")
        with locked(lock, lambda holder: say(f"waiting for {holder}, which is downloading {target}")):
            # Whoever had the lock before may have fetched the file.
            if not target.exists():
                _download(remote, part, quiet, say, pause)
                _accept(remote, part, target)
    except OSError as error:
        raise folder_error(error, folder, remote.size - _size(part), f"; {part} is kept and continued") from error
    return target


def folder_error(error: OSError, folder: Path, needed: int, kept: str = "") -> DataError:
    """Return what to say about a cache that cannot be written: the disk is full, or something else is wrong."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"the disk of {folder} is full: {needed:,} more bytes are needed; free them, or set NPL0_DATA to a folder "
            f"on another disk{kept}"
        )
    return DataError(
        f"cannot write to the cache {folder} ({error.strerror}); correct that, or set NPL0_DATA to another folder"
    )


def file_md5(path: Path) -> str:
    """Return the MD5 of a file, hexadecimal. It tells whole files from damaged ones, not good from evil ones."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(
    remote: RemoteFile,
    part: Path,
    quiet: bool,
    say: Callable[[str], None],
    pause: Callable[[float], None],
) -> None:
    """Complete the partial file, trying again after every cut."""
    for wait in (*PAUSES, None):
        try:
            _receive(remote, part, quiet)
            return
        except _CutError as error:
            if wait is None:
                raise DataError(
                    f"{remote.url} could not be downloaded in {len(PAUSES) + 1} tries ({error}): try again later "
                    f"({_size(part):,} of {remote.size:,} bytes are kept and continued), or {remote.by_hand}"
                ) from error
            say(f"{remote.name}: {error}; trying again in {wait} s")
            pause(wait)


def _receive(remote: RemoteFile, part: Path, quiet: bool) -> None:
    """Append what is missing to the partial file; _CutError if the connection ends before the file does."""
    have = _size(part)
    if have == remote.size:
        return
    # A part that is too long is not of this file, so it is not continued.
    response = _open(remote, part, have if have < remote.size else 0)
    with response:
        # A server that does not know ranges answers 200 and sends the whole.
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else remote.size
        # Without a terminal (a log file) a line every ten seconds is enough.
        interval = 0.2 if sys.stderr.isatty() else 10
        bar = tqdm(
            total=total,
            initial=have,
            desc=remote.name,
            unit="B",
            unit_scale=True,
            mininterval=interval,
            maxinterval=interval,
            file=sys.stderr,
            disable=quiet,
        )
        with bar, open(part, "ab" if have else "wb") as file:
            # One byte too many is enough to know that it is another file.
            while have <= remote.size and (block := _read(response)):
                file.write(block)
                have += len(block)
                bar.update(len(block))
    if have < min(total, remote.size):
        raise _CutError(f"the connection ended at {have:,} of {total:,} bytes")


def _open(remote: RemoteFile, part: Path, start: int) -> http.client.HTTPResponse:
    """Ask for the bytes from `start` on; _CutError if trying again may help, DataError if not."""
    headers = {"User-Agent": "npl0"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink(missing_ok=True)
            raise _CutError(f"the server cannot continue at byte {start:,}, so the download starts anew") from error
        if error.code in (408, 429) or error.code >= 500:
            raise _CutError(f"the server answers {error.code} ({error.reason})") from error
        raise DataError(
            f"{remote.url} is refused with {error.code} ({error.reason}): try again later, or {remote.by_hand}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"the certificate of {remote.url} cannot be verified ({reason}): give Python the "
                f"certificates of this machine or its proxy (SSL_CERT_FILE), or {remote.by_hand}"
            ) from error
        raise _CutError(f"no connection: {reason}") from error


def _read(response: http.client.HTTPResponse) -> bytes:
    # Errors of the network are told from those of the disk, which are OSErrors too.
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(f"the connection broke: {error}") from error


def _accept(remote: RemoteFile, part: Path, target: Path) -> None:
    """Give the whole file its name, or set it aside if it is not the one that was asked for."""
    md5 = file_md5(part)
    if md5 == remote.md5:
        os.replace(part, target)
        return
    size = _size(part)
    bad = target.with_name(f"{target.name}.bad-{md5[:8]}")
    os.replace(part, bad)
    raise DataError(
        f"{remote.url} sent {size:,} bytes of MD5 {md5}; they must be {remote.size:,} of MD5 {remote.md5}. They are "
        f"kept in {bad}: look whether it is an error page or a login page, delete it and try again, or {remote.by_hand}"
    )
