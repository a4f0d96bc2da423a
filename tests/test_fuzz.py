"""The short form of `experiments/fuzz.py`: eighty mutations for every reader of files."""

import importlib
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured through /proc")
def test_damaged_files_are_refused_in_words(monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    fuzz = importlib.import_module("fuzz")
    # The seeds differ from those of the full run, 0 to 19,999.
    code = fuzz.main(["--count", "80", "--first", "1000000", "--bomb", "64"])
    table = capsys.readouterr().out
    assert code == 0, table
    assert table.count(" MB") == 13, table


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda path: path.read_bytes(), "OTHER"),
        (lambda path: {}[path] if b"\xff" in path.read_bytes()[:9] else 0, "KeyError"),
    ],
)
def test_a_broken_bound_is_reported(read, outcome, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    fuzz = importlib.import_module("fuzz")
    reader = fuzz.Reader({"a.gz": bytes(9)}, read, lambda r: ("a.gz", b"\xff", False))
    monkeypatch.setattr(fuzz, "data_readers", lambda folder, size: {"broken": reader})
    monkeypatch.setattr(fuzz, "network_readers", lambda folder, size: {})
    assert fuzz.main(["--count", "30"]) == 1
    assert outcome in capsys.readouterr().out
