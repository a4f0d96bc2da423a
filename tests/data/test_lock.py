"""Several downloads of one file at once: one is made, the others wait, and a lock left behind is broken."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from npl0.data import fetch
from npl0.storage import lock

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


HOLD = """
import sys, time
from pathlib import Path
from npl0.storage.lock import locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_as_long_as_its_process_lives_and_no_longer(tmp_path):
    path, told = tmp_path / "lock", []
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, text=True, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == "held\n"
        # However old the file is, a process that was only put to sleep keeps its lock.
        os.kill(other.pid, signal.SIGSTOP)
        os.utime(path, (0, 0))

        def waiting(holder):
            told.append(holder)
            other.kill()

        with lock.locked(path, waiting):
            assert told == [f"process {other.pid}"]
            assert path.read_text() == f"{os.getpid()} {socket.gethostname()}"
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", ["", "1 another-machine", "not a lock"])
def test_a_file_that_was_left_behind_locks_nothing(content, tmp_path):
    path = tmp_path / "lock"
    path.write_text(content)
    with lock.locked(path, lambda holder: pytest.fail("waited")):
        assert path.read_text() == f"{os.getpid()} {socket.gethostname()}"
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "holder"),
    [("", "another process"), (f"7 {socket.gethostname()}", "process 7"), ("7 far-away", "process 7 on far-away")],
)
def test_the_holder_is_told(content, holder, tmp_path):
    path = tmp_path / "lock"
    path.write_text(content)
    with open(path) as file:
        assert lock._holder(file) == holder


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lock.socket, "gethostname", full)
        with pytest.raises(OSError, match="No space left"), lock.locked(tmp_path / "lock", print):
            pytest.fail("entered")
    assert names(tmp_path) == []
    with lock.locked(tmp_path / "lock", lambda holder: pytest.fail("waited")):
        pass


@pytest.mark.skipif(os.name != "posix", reason="the errors of flock")
def test_a_file_system_without_locks_locks_nobody_out(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(error, "no locks")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    error = errno.ENOSYS
    with lock.locked(tmp_path / "lock", print):
        pass
    error = errno.EIO
    with pytest.raises(OSError, match="no locks"), lock.locked(tmp_path / "lock", print):
        pytest.fail("entered")


def test_of_many_threads_one_is_inside(tmp_path):
    inside, most, done = [], [], []

    def work():
        with lock.locked(tmp_path / "lock", lambda holder: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and len(done) == 6 and names(tmp_path) == []


def test_a_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError), lock.locked(tmp_path / "lock", print):
        raise KeyError
    assert names(tmp_path) == []
