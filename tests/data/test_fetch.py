"""Downloads against a server on this machine: cut, slow, refused, wrong, and a disk that is full."""

import errno
import hashlib
import os
import socket
import ssl
import sys
import urllib.error
from pathlib import Path

import pytest

from npl0.data import DataError, fetch
from npl0.data.fetch import RemoteFile, cache_directory

# What the server of conftest.py sends.
BODY = bytes(range(256)) * 2000


@pytest.fixture
def pauses() -> list[float]:
    """What was waited between two tries, without waiting."""
    return []


@pytest.fixture
def get(remote, tmp_path, pauses):
    """Fetch the file into a folder that is not there yet."""
    return lambda **options: fetch.fetch(remote, tmp_path / "new" / "cache", pause=pauses.append, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_fetched_once(get, server, tmp_path, pauses, capsys):
    path = get()
    assert path == tmp_path / "new" / "cache" / "file.bin" and path.read_bytes() == BODY
    assert names(path.parent) == ["file.bin"] and pauses == []
    assert "file.bin: 100%" in capsys.readouterr().err
    assert get() == path and server.ranges == [None] and server.agents == {"npl0"}


def test_quiet_is_quiet(get, server, capsys):
    server.script = ["500", "cut"]
    get(quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["cut", "no length"])
def test_a_cut_download_is_continued(how, get, server, pauses, capsys):
    server.script = [how]
    assert get().read_bytes() == BODY
    assert server.ranges == [None, f"bytes={len(BODY) * 6 // 10}-"] and pauses == [1]
    assert "the connection ended at 307,200 of 512,000 bytes; trying again in 1 s" in capsys.readouterr().err


def test_a_server_without_ranges_starts_anew(get, server):
    server.script = ["cut", "no ranges"]
    assert get().read_bytes() == BODY and len(server.ranges) == 2


def test_the_next_call_continues_what_an_earlier_one_left(get, server, tmp_path):
    part = tmp_path / "new" / "cache" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY[:1000])
    assert get().read_bytes() == BODY and server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize(("left", "asked"), [(BODY, []), (BODY + b"x", [None])])
def test_a_part_that_is_whole_or_too_long(left, asked, get, server, tmp_path):
    part = tmp_path / "new" / "cache" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert get().read_bytes() == BODY and server.ranges == asked


def test_a_server_that_refuses_the_range_is_asked_for_the_whole(get, server, tmp_path, capsys):
    part = tmp_path / "new" / "cache" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY[:1000])
    server.script = ["416"]
    assert get().read_bytes() == BODY and server.ranges == ["bytes=1000-", None]
    assert "the server cannot continue at byte 1,000, so the download starts anew" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["403", "404"])
def test_a_refusal_is_final(code, get, server, pauses):
    server.script = [code]
    with pytest.raises(DataError, match=rf"file.bin is refused with {code} \(.*data import file.bin.*--data-dir"):
        get()
    assert len(server.ranges) == 1 and pauses == []


def test_a_busy_server_is_asked_again(get, server, pauses):
    server.script = ["503", "429", "500"]
    assert get().read_bytes() == BODY and pauses == [1, 3, 9]


def test_after_the_last_try_the_part_is_kept(get, server, tmp_path, pauses):
    server.script = ["cut", *["503"] * 4]
    with pytest.raises(DataError) as caught:
        get()
    message = str(caught.value)
    assert "could not be downloaded in 5 tries (the server answers 503 (Service Unavailable)): try again" in message
    assert "(307,200 of 512,000 bytes are kept and continued), or get file.bin another way" in message
    assert pauses == [1, 3, 9, 27] and names(tmp_path / "new" / "cache") == ["file.bin.part"]
    assert get().read_bytes() == BODY and server.ranges[-1] == "bytes=307200-"


def test_nobody_there(tmp_path, pauses, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    # The port is bound but nobody listens, so that no other program can take it.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = RemoteFile("made", f"http://127.0.0.1:{bound.getsockname()[1]}/file.bin", 9, "0" * 32)
        with pytest.raises(DataError, match=r"in 5 tries \(no connection: .*\): try again later \(0 of 9 bytes"):
            fetch.fetch(nobody, tmp_path, pause=pauses.append, quiet=True)
    assert names(tmp_path) == []


def test_a_stalled_connection_is_given_up_and_tried_again(get, server, pauses, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    server.script = ["stalled"]
    assert get().read_bytes() == BODY and pauses == [1]
    assert "timed out; trying again in 1 s" in capsys.readouterr().err


def test_a_slow_server_is_waited_for(get, server, pauses, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    server.script = ["slow"]
    assert get().read_bytes() == BODY and pauses == []


def test_a_wrong_body_is_set_aside(get, server, tmp_path):
    server.script = ["wrong"]
    with pytest.raises(DataError) as caught:
        get()
    body = b"<html>log in first</html>"
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    bad = tmp_path / "new" / "cache" / f"file.bin.bad-{md5[:8]}"
    assert bad.read_bytes() == body and names(bad.parent) == [bad.name]
    for words in (f"sent 25 bytes of MD5 {md5}", "must be 512,000 of MD5", f"kept in {bad}: look", "data import"):
        assert words in str(caught.value)
    assert get().read_bytes() == BODY


@pytest.mark.parametrize("body", [BODY[:-1] + b"x", BODY * 3])
def test_other_bytes_are_never_given_the_final_name(body, get, server, tmp_path):
    server.body = body
    with pytest.raises(DataError, match=r"bytes of MD5 .*; they must be 512,000"):
        get()
    (bad,) = (tmp_path / "new" / "cache").iterdir()
    # An endless answer does not fill the disk.
    assert bad.name.startswith("file.bin.bad-") and bad.stat().st_size <= len(BODY) + fetch._BLOCK


class FullDisk:
    """A file on a disk that has room for 200,000 bytes."""

    def __init__(self, path, mode):
        self.file, self.left = open(path, mode), 200_000  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, block):
        self.left -= len(block)
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(block)


def test_a_full_disk_keeps_the_part(get, server, tmp_path, monkeypatch, pauses):
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "open", FullDisk, raising=False)
        with pytest.raises(DataError) as caught:
            get()
    folder = tmp_path / "new" / "cache"
    kept = (folder / "file.bin.part").stat().st_size
    assert 0 < kept <= 200_000 and names(folder) == ["file.bin.part"] and pauses == []
    assert str(caught.value) == (
        f"the disk of {folder} is full: {len(BODY) - kept:,} more bytes are needed; free them, or set NPL0_DATA to a "
        f"folder on another disk; {folder / 'file.bin.part'} is kept and continued"
    )
    assert get().read_bytes() == BODY and server.ranges[-1] == f"bytes={kept}-"


def test_a_certificate_that_cannot_be_verified_is_final(get, monkeypatch, pauses):
    def refuse(*_, **__):
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed"))

    monkeypatch.setattr(fetch.urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"certificate of .* cannot be verified .*self-signed.*SSL_CERT_FILE"):
        get()
    assert pauses == []


def test_a_cache_that_cannot_be_made(remote, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(DataError, match=rf"cannot write to the cache {folder} \(.*\); correct .* NPL0_DATA"):
            fetch.fetch(remote, folder)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_never_asks(how, get, server, monkeypatch, tmp_path):
    if how == "environment":
        monkeypatch.setenv("NPL0_OFFLINE", "1")
    with pytest.raises(DataError) as caught:
        get(offline=how == "argument")
    for words in (str(tmp_path / "new" / "cache"), "data fetch made", "data import file.bin", "--data-dir"):
        assert words in str(caught.value)
    assert server.ranges == [] and not (tmp_path / "new").exists()
    monkeypatch.setenv("NPL0_OFFLINE", "0")
    path = get()
    assert get(offline=True) == path


# ---- where ----------------------------------------------------------------------------------------------------------


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch, tmp_path):
    for variable in ("NPL0_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    where = {}
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        where[platform] = cache_directory().relative_to(tmp_path).as_posix()
    assert where == {
        "linux": ".cache/npl0",
        "darwin": "Library/Caches/npl0",
        "win32": "AppData/Local/npl0",
    }
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_directory() == tmp_path / "local" / "npl0"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "npl0"
    monkeypatch.setenv("NPL0_DATA", "~/own")
    assert cache_directory() == tmp_path / "own"
