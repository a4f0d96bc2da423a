"""Commands whose output is cut off by its reader, or cannot be written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npl0.cli.guard import exit_with, guard

ROOT = Path(__file__).parents[2]
COMMANDS = [("npl0", "summary", "lenet5"), ("npl0", "data", "check", "mnist"), ("npl0.run", "--dry-run")]


def start(command, unbuffered, **streams):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **streams
    )


@pytest.mark.parametrize("unbuffered", [True, False])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_closed_pipe_causes_no_message(command, unbuffered):
    read, write = os.pipe()
    os.close(read)
    process = start(command, unbuffered, stdout=write)
    os.close(write)
    assert (process.communicate()[1], process.returncode) == ("", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="file names are not bytes on Windows")
def test_a_path_that_the_console_cannot_encode_is_printed_with_escapes(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    process = start(("npl0.run", "--dry-run", "--out", os.fsdecode(b"d\xfcr")), False, stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert out.startswith("# run folder: d\\udcfcr/lenet5-mnist-l0-") and (err, process.returncode) == ("", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to stand for a full disk")
@pytest.mark.parametrize("unbuffered", [True, False])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_to_a_full_disk_fails_in_one_line(command, unbuffered):
    with open("/dev/full", "w") as full:
        process = start(command, unbuffered, stdout=full)
        err = process.communicate()[1]
    assert process.returncode == 1
    assert err.count("\n") == 1 and "No space left on device" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_of_a_training_ends_with_code_130(number, capsys, monkeypatch):
    def interrupted():
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr(os, "_exit", sys.exit)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        for work in (interrupted, lambda: guard(interrupted, "npl0")):
            with pytest.raises(SystemExit) as leaving:
                exit_with(work)
            assert leaving.value.code == 130
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert capsys.readouterr().err == 2 * "npl0: interrupted\n"


# A command that gets a signal: while it imports, inside code from a string (as imports run it), and while Python ends.
EARLY = "runpy.run_module('npl0.run', run_name='__main__')"
SIGNALLED = {
    "importing": f"sys.meta_path.insert(0, Finder); {EARLY}",
    "inside a string": "from npl0.cli.guard import exit_with; exit_with(lambda: exec('signal.raise_signal(number)'))",
    "ending": "sys.late = Late(); sys.argv[1:] = ['--dry-run', '--quiet']; " + EARLY,
}
FINDER = """
import os, runpy, signal, sys
number = signal.Signals(int(sys.argv[1]))
class Finder:
    def find_spec(name, *_):
        if name == "npl0.cli.guard":
            signal.raise_signal(number)
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=number):
        kill(pid, number)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", SIGNALLED)
def test_a_signal_at_the_ends_of_a_command_gives_a_word_and_code_130_or_is_too_late(number, moment):
    command = [sys.executable, "-c", FINDER + SIGNALLED[moment], str(int(number))]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    expected = (0, "") if moment == "ending" else (130, "npl0: interrupted\n")
    assert (process.returncode, process.stderr) == expected


def test_where_nothing_can_be_written_commands_run_with_one_line_of_advice():
    # As in a container with a read-only file system: Numba finds no folder for its cache.
    code = (
        "from numba.core import caching; caching.CacheImpl._locator_classes = [];"
        "from npl0.cli.guard import exit_with; from npl0.__main__ import main;"
        "exit_with(lambda: main(['summary', 'lenet300']))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0 and "266,200" in process.stdout
    assert process.stderr == "note: every start compiles the kernels: set NUMBA_CACHE_DIR to a writable folder\n"
