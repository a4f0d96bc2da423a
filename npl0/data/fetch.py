"""Downloads into a cache: continued when cut, checked before use, and made once when several processes ask.

A download grows in a file with the suffix `.part`. pooch gives it its final name once its checksum is right, so a file
with that name is whole.
"""

import http.client
import os
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import sleep

from tqdm import tqdm

from npl0.data.dataset import DataError
from npl0.storage.files import locked

# Seconds without a byte after which a connection counts as cut, and the pauses before trying again.
TIMEOUT = 30.0
PAUSES = (1, 3, 9, 27)
_BLOCK = 1 << 16
# The errors of reading from the network; those of the disk are other OSErrors.
_NETWORK_ERRORS = (ConnectionError, TimeoutError, ssl.SSLError, urllib.error.URLError, http.client.HTTPException)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download, with the name of its data set, its size in bytes, and its published MD5, hexadecimal."""

    dataset: str
    url: str
    size: int
    md5: str

    @property
    def name(self) -> str:
        """The file's name, the last part of its URL."""
        return self.url.rsplit("/", 1)[1]

    @property
    def by_hand(self) -> str:
        """How to do without the download, for messages."""
        command = f"python -m npl0 data import {self.name}"
        return f"get {self.name} another way and run `{command}`, or name its folder with --data-dir"


def cache_directory() -> Path:
    """Return the folder of downloaded data: `NPL0_DATA`, or else `npl0` in the platform's cache folder."""
    if own := os.environ.get("NPL0_DATA"):
        return Path(own).expanduser()
    try:
        from platformdirs import user_cache_path
    except ImportError:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npl0"
    return user_cache_path("npl0", appauthor=False, opinion=False)


def fetch(remote: RemoteFile, folder: Path, offline: bool = False, quiet: bool = False) -> Path:
    """Return the path of a file in the cache `folder`, after downloading it if it is not there.

    `offline` leaves the network alone, as the environment variable `NPL0_OFFLINE=1` does; `quiet` shows nothing on
    stderr. DataError if the network is off or fails, pooch is missing, the checksum is wrong (the bytes are set aside),
    or the folder cannot be written. The next call continues an incomplete download.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.exists():
        return target
    problem = ""
    if offline or os.environ.get("NPL0_OFFLINE", "0") not in ("", "0"):
        off, fetch_it = "--offline, offline=True or NPL0_OFFLINE", f"python -m npl0 data fetch {remote.dataset}"
        problem = f"the network is off ({off}): run `{fetch_it}` with the network on"
    elif find_spec("pooch") is None:
        problem = "pooch, which downloads it, is not installed: pip install pooch (the extra download)"
    if problem:
        raise DataError(f"{remote.dataset} is not in the cache {folder}, and {problem}, or {remote.by_hand}")
    import pooch  # here, because it is an extra

    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough

    def download(url: str, output: str, _: object) -> None:
        _complete(remote, part, quiet)
        # pooch would delete bytes with a wrong checksum, but the user may learn from them what happened.
        if (md5 := pooch.file_hash(str(part), "md5")) != remote.md5:
            os.replace(part, bad := folder / f"{remote.name}.bad-{md5[:8]}")
            raise DataError(
                f"{url} sent {_size(bad):,} bytes of MD5 {md5}; they must be {remote.size:,} of MD5 {remote.md5}. They "
                f"are kept in {bad}: see whether it is an error page, delete it and try again, or {remote.by_hand}"
            )
        os.replace(part, output)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f"{remote.name}.lock"
        with locked(lock, lambda holder: _say(f"waiting for {holder}, which is downloading {target}", quiet)):
            # The previous holder of the lock may have fetched the file.
            if not target.exists():
                pooch.retrieve(remote.url, f"md5:{remote.md5}", remote.name, folder, downloader=download)
    except OSError as error:
        kept = f"; {part} is kept and continued" if part.exists() else ""
        raise folder_error(error, folder, remote.size - _size(part), kept) from error
    return target


def folder_error(error: OSError, folder: Path, needed: int, kept: str = "") -> DataError:
    """Return the error for a cache that cannot be written, for example because the disk is full."""
    return DataError(
        f"cannot write to the cache {folder} ({error.strerror}; {needed:,} more bytes are needed): correct that, or "
        f"set NPL0_DATA to another folder{kept}"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _say(line: str, quiet: bool) -> None:
    if not quiet:
        tqdm.write(line, file=sys.stderr)


def _complete(remote: RemoteFile, part: Path, quiet: bool) -> None:
    """Complete the partial file, trying again when the connection is cut or the server is busy."""
    for wait in (*PAUSES, None):
        try:
            _receive(remote, part, quiet)
            return
        except _NETWORK_ERRORS as error:
            problem, remedy, final = _explain(error)
            if getattr(error, "code", None) == 416:  # there are no bytes to continue with
                part.unlink(missing_ok=True)
            if final or wait is None:
                raise DataError(
                    f"{remote.url} could not be downloaded ({problem}): {remedy} ({_size(part):,} of {remote.size:,} "
                    f"bytes are kept and continued), or {remote.by_hand}"
                ) from error
            _say(f"{remote.name}: {problem}; trying again in {wait} s", quiet)
            sleep(wait)


def _explain(error: Exception) -> tuple[str, str, bool]:
    """Return what went wrong, what to do about it, and whether trying again at once is of no use."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        final = error.code < 500 and error.code not in (408, 416, 429)
        return f"the server answers {error.code} ({error.reason})", "try again later", final
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return str(reason), "give Python the certificates of this machine or its proxy (SSL_CERT_FILE)", True
    return f"connection failed: {reason}", "try again later", False


def _receive(remote: RemoteFile, part: Path, quiet: bool) -> None:
    """Append what is missing to the partial file; raise one of `_NETWORK_ERRORS` if it is not complete then."""
    have = _size(part)
    if have == remote.size:
        return
    # A part that is too long belongs to another file, so it is not continued.
    headers = {"User-Agent": "npl0"} | ({"Range": f"bytes={have}-"} if 0 < have < remote.size else {})
    with urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT) as response:
        # A server that does not know ranges answers 200 and sends the whole file.
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else remote.size
        # In a log file, a line every ten seconds is enough.
        every = 0.2 if sys.stderr.isatty() else 10
        look = {"desc": remote.name, "mininterval": every, "maxinterval": every, "disable": quiet}
        body = tqdm.wrapattr(response, "read", total, initial=have, **look)
        with body as shown, open(part, "ab" if have else "wb") as file:
            # One byte too many shows that it is another file.
            while have <= remote.size and (block := shown.read(_BLOCK)):
                have += file.write(block)
    if have < min(total, remote.size):
        raise ConnectionError(f"it ended at {have:,} of {total:,} bytes")
