"""Several downloads of one file at once: one is made, the others wait, and a lock left behind is broken."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from npl0.data import fetch, lock

ROOT = Path(__file__).parent.parent.parent


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_a_lock_stays_young_while_its_holder_works(remote, server, tmp_path, monkeypatch):
    # The download takes longer than a lock may lie untouched, so the second thread would break one that is not.
    monkeypatch.setattr(lock, "STALE_AFTER", 0.5)
    server.script = ["slow"]
    threads = [threading.Thread(target=fetch.fetch, args=(remote, tmp_path), kwargs={"quiet": True}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.ranges) == 1 and names(tmp_path) == ["file.bin"]


def test_a_lock_stays_young_through_pauses(remote, server, tmp_path):
    ages = []

    def pause(_):
        path = tmp_path / "file.bin.lock"
        ages.append(time.time() - path.stat().st_mtime)
        os.utime(path, (0, 0))

    server.script = ["503", "503"]
    fetch.fetch(remote, tmp_path, quiet=True, pause=pause)
    assert len(ages) == 2 and max(ages) < 60


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


def test_a_lock_left_by_a_killed_process_is_broken(remote, server, tmp_path, capsys):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    path = tmp_path / "file.bin.lock"
    path.write_text(f"{process.pid} {socket.gethostname()}")
    assert fetch.fetch(remote, tmp_path).read_bytes() == server.body and names(tmp_path) == ["file.bin"]
    assert "waiting" not in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "1 another-machine", "not a lock"])
def test_an_old_lock_is_broken_and_a_young_one_is_not(content, tmp_path):
    path = tmp_path / "lock"
    path.write_text(content)
    assert lock._holder(path) in ("another process", "process 1 on another-machine")
    long_ago = time.time() - lock.STALE_AFTER - 1
    os.utime(path, (long_ago, long_ago))
    assert lock._holder(path) is None
    with lock.locked(path, lambda holder: pytest.fail("waited")):
        assert path.read_text().startswith(f"{os.getpid()} ")
    assert not path.exists()


def test_a_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError), lock.locked(tmp_path / "lock", print):
        raise KeyError
    assert names(tmp_path) == []
