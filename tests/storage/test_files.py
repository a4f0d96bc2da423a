"""Locks: one holder at a time, given back when their process ends, however it ends."""

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

from npl0.storage import files
from npl0.storage.files import locked

fcntl = pytest.importorskip("fcntl", reason="the signals and locks of POSIX")
ROOT = Path(__file__).parent.parent.parent


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


HOLD = """
import sys, time
from pathlib import Path
from npl0.storage.files import locked
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

        with locked(path, waiting):
            assert told == [f"process {other.pid}"]
            assert path.read_text() == f"{os.getpid()} {socket.gethostname()}"
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", ["", "1 another-machine and more", "not a lock"])
def test_a_file_that_was_left_behind_locks_nothing(content, tmp_path):
    path = tmp_path / "lock"
    path.write_text(content)
    with locked(path, lambda holder: pytest.fail("waited")):
        assert path.read_text() == f"{os.getpid()} {socket.gethostname()}"
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "holder"),
    [("", "another process"), (f"7 {socket.gethostname()}", "process 7"), ("7 far-away", "process 7 on far-away")],
)
def test_the_holder_is_named(content, holder, tmp_path):
    path, told = tmp_path / "lock", []
    path.write_text(content)
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def waiting(name):
            told.append(name)
            # Waiting does not empty the file.
            assert path.read_text() == content
            fcntl.flock(file, fcntl.LOCK_UN)

        with locked(path, waiting):
            assert told == [holder]


def test_what_a_link_names_is_left_alone(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "lock"
    victim.write_text("precious")
    link.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), locked(link, print):
        pytest.fail("entered")
    assert victim.read_text() == "precious"
    link.unlink()
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(OSError, match="symbolic links"), locked(link, print):
        pytest.fail("entered")
    assert names(tmp_path) == ["lock", "victim"]


def test_a_full_disk_keeps_nobody_from_the_lock(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.socket, "gethostname", full)
        with locked(tmp_path / "lock", print):
            assert names(tmp_path) == ["lock"]
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_locks_nobody_out(error, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(error, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    inside = []
    # What was left behind there by a killed process does not matter either.
    (tmp_path / "lock").write_text("7 far-away")
    with locked(tmp_path / "lock", print):
        inside.append(1)
    assert inside == [1] and names(tmp_path) == []


def test_other_errors_of_locking_are_raised(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"), locked(tmp_path / "lock", print):
        pytest.fail("entered")


def test_of_many_threads_one_is_inside(tmp_path):
    inside, most, done = [], [], []

    def work():
        with locked(tmp_path / "lock", lambda holder: None):
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
    with pytest.raises(KeyError), locked(tmp_path / "lock", print):
        raise KeyError
    assert names(tmp_path) == []
