"""Downloads against a server on this machine: cut, slow, refused, wrong, and a disk that is full."""

import errno
import hashlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
from pathlib import Path

import pytest

from npl0.data import DataError, fetch
from npl0.data.fetch import RemoteFile, cache_directory

# What the server of conftest.py sends.
BODY = bytes(range(256)) * 2000
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses between two tries, which are not waited."""
    made = []
    monkeypatch.setattr(fetch, "sleep", made.append)
    return made


@pytest.fixture
def get(remote, tmp_path, pauses):
    """Fetch the file into a folder that is not there yet."""
    return lambda **options: fetch.fetch(remote, tmp_path / "new" / "cache", **options)


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
    assert "connection failed: it ended at 307,200 of 512,000 bytes; trying again in 1 s" in capsys.readouterr().err


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
    # Python 3.13 has another phrase for 416.
    err = capsys.readouterr().err
    assert re.search(r"the server answers 416 \(.*Range Not Satisfiable\); trying again in 1 s", err)


@pytest.mark.parametrize("code", ["403", "404"])
def test_a_refusal_is_final(code, get, server, pauses):
    server.script = [code]
    with pytest.raises(DataError, match=rf"file.bin .*the server answers {code} \(.*data import file.bin.*--data-dir"):
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
    assert "could not be downloaded (the server answers 503 (Service Unavailable)): try again later" in message
    assert "later (307,200 of 512,000 bytes are kept and continued), or get file.bin another way" in message
    assert pauses == [1, 3, 9, 27] and names(tmp_path / "new" / "cache") == ["file.bin.part"]
    assert get().read_bytes() == BODY and server.ranges[-1] == "bytes=307200-"


def test_nobody_there(tmp_path, pauses, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    # The port is bound but nobody listens, so that no other program can take it.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = RemoteFile("made", f"http://127.0.0.1:{bound.getsockname()[1]}/file.bin", 9, "0" * 32)
        with pytest.raises(DataError, match=r"downloaded \(connection failed: .*\): try again later \(0 of 9 bytes"):
            fetch.fetch(nobody, tmp_path, quiet=True)
    assert names(tmp_path) == [] and len(pauses) == 4


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
    for words in (f"sent 25 bytes of MD5 {md5}", "must be 512,000 of MD5", f"kept in {bad}: see", "data import"):
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
        f"cannot write to the cache {folder} (No space left on device; {len(BODY) - kept:,} more bytes are needed): "
        f"correct that, or set NPL0_DATA to another folder; {folder / 'file.bin.part'} is kept and continued"
    )
    assert get().read_bytes() == BODY and server.ranges[-1] == f"bytes={kept}-"


def test_a_certificate_that_cannot_be_verified_is_final(get, monkeypatch, pauses):
    def refuse(*_, **__):
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed"))

    monkeypatch.setattr(fetch.urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"self-signed.*give Python the certificates of .*SSL_CERT_FILE"):
        get()
    assert pauses == []


def test_without_pooch_the_message_names_the_extra(get, server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    with pytest.raises(DataError) as caught:
        get()
    for words in ("is not in the cache", "pip install pooch (the extra download)", "data import", "--data-dir"):
        assert words in str(caught.value)
    assert server.ranges == [] and not (tmp_path / "new").exists()


def test_a_cache_that_cannot_be_made(remote, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(DataError, match=rf"the cache {folder} \(.*\): correct .* NPL0_DATA to another folder$"):
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


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    """An empty home, and nothing that says where caches are."""
    for variable in ("NPL0_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the folders of Linux")
@pytest.mark.parametrize("platformdirs", ["there", "missing"])
def test_the_cache_is_where_the_platform_keeps_caches(platformdirs, home, monkeypatch):
    if platformdirs == "missing":
        monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert cache_directory() == home / ".cache" / "npl0"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_directory() == home / "xdg" / "npl0"
    monkeypatch.setenv("NPL0_DATA", "~/own")
    assert cache_directory() == home / "own"


def test_the_cache_on_other_platforms(home, monkeypatch):
    from platformdirs import macos, windows

    def cache_of(kind):
        return Path(kind("npl0", appauthor=False, opinion=False).user_cache_dir)

    assert cache_of(macos.MacOS) == home / "Library" / "Caches" / "npl0"
    monkeypatch.setattr(windows, "get_win_folder", lambda name: str(home / "AppData" / "Local"))
    assert cache_of(windows.Windows) == home / "AppData" / "Local" / "npl0"


# ---- several at once ------------------------------------------------------------------------------------------------


def test_two_threads_download_once(remote, server, tmp_path, capsys):
    server.script = ["slow"]
    got = []
    threads = [threading.Thread(target=lambda: got.append(fetch.fetch(remote, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [tmp_path / "file.bin"] * 2 and got[0].read_bytes() == server.body
    assert len(server.ranges) == 1 and names(tmp_path) == ["file.bin"]
    assert f"waiting for process {os.getpid()}, which is downloading {got[0]}" in capsys.readouterr().err


def test_two_processes_download_once(remote, server, tmp_path):
    server.script = ["slow"]
    code = f"from pathlib import Path; from npl0.data.fetch import *; print(fetch({remote!r}, Path({str(tmp_path)!r})))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    outs = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in outs] == [str(tmp_path / "file.bin")] * 2, outs
    assert len(server.ranges) == 1 and (tmp_path / "file.bin").read_bytes() == server.body
