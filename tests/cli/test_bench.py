"""`python -m npl0 bench`; its networks in PyTorch are compared in `tests/test_torch_parity.py`."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

import npl0
from npl0 import sparse
from npl0.cli import forms

# `nonsense` is no form, and fails.
MEASURED = ("dense", "compacted", "sparse", "C, int8", "ONNX Runtime", "PyTorch", "nonsense")


def test_times_and_sizes_of_each_form(command, finished, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need matplotlib, the extra `plot`")
    monkeypatch.setattr(forms, "TURNS", 5)
    monkeypatch.setattr(forms, "MS", 0.01)
    monkeypatch.setattr(forms, "FORMS", {name: forms.FORMS.get(name) for name in MEASURED})
    flags = ["--batch", "8", "1", "--threads", "1", "--plot", tmp_path / "times.svg"]
    code, out, err = command("bench", finished, "--json", *flags)
    assert code == 0 and [line for line in err.splitlines() if not line.startswith("note: this machine is busy")] == []
    found = json.loads(out)
    small = npl0.compact(npl0.load_model(finished))
    kept = sum(np.count_nonzero(weight.value) for weight in small.weights)
    assert (found["model"], found["threads"], found["macs_kept"], found["disagree"]) == ("lenet300", 1, kept, [])
    expected = {"nonsense": "'NoneType' object is not callable"}
    for name, module in {"ONNX Runtime": "onnxruntime", "PyTorch": "torch"}.items():
        expected |= {} if find_spec(module) else {name: f"No module named {module!r}"}
    expected |= {} if shutil.which("gcc") else {"C, int8": "[Errno 2] No such file or directory: 'gcc'"}
    assert found["missing"] == expected
    works = [name for name in MEASURED if name not in expected]
    rows = {(row["form"], row["batch"]): row for row in found["rows"]}
    assert [*rows] == [(name, batch) for batch in (1, 8) for name in works]
    for (_, batch), row in rows.items():
        assert 0 < row["min_ms"] <= row["median_ms"] and row["calls"] >= 1
        assert row["kept_gflops"] == pytest.approx(2e-6 * kept * batch / row["min_ms"])
        assert row["weight_bytes"] > 0
        assert row["torch_over_this"] == (
            rows["PyTorch", batch]["min_ms"] / row["min_ms"] if "PyTorch" in works else None
        )
    assert found["peak_memory_mb"] is None or found["peak_memory_mb"] > 10
    dense = rows["dense", 1]
    assert (dense["macs"], dense["weight_bytes"]) == (266_200, 4 * 266_610)
    assert rows["compacted", 8]["macs"] == sum(weight.size for weight in small.weights)
    assert rows["sparse", 8]["macs"] == sparse.SparseNetwork(small).macs
    assert "images of a call" in (tmp_path / "times.svg").read_text() and len(list(tmp_path.iterdir())) == 1

    # The same as a table, had two forms not agreed.
    monkeypatch.setattr(forms, "measure", lambda *_: found | {"disagree": ["compacted"]})
    code, out, err = command("bench", finished, *flags)
    assert (code, err.count("\n")) == (1, 1) and "other classes than those of the dense network: compacted" in err
    lines = out.splitlines()
    assert lines[0].startswith(f"lenet300, {kept:,} multiply-adds") and lines[1].endswith("1 threads")
    assert lines[3].split("  ")[0] == "form" and lines[3].endswith("bytes") and "PyTorch / this" in lines[3]
    assert [line.split("  ")[0] for line in lines[5 : 5 + 2 * len(works)]] == 2 * works
    assert len({len(line) for line in lines[3 : 5 + 2 * len(works)]}) == 1
    assert lines[5 + 2 * len(works) :] == [f"{name}: {reason}" for name, reason in found["missing"].items()]


def test_forms_agree_up_to_rounding():
    dense = np.array([[0.0, 9.0, 1.0], [5.0, 5.0001, 0.0]])
    assert not forms._other_class(dense, np.array([[1, 30, 4], [7, 6, 0]]))
    assert not forms._other_class(dense, dense[:1])
    assert forms._other_class(dense, np.array([[1, 3, 4], [0, 0, 7]]))


def test_bad_input_is_refused_before_the_work(command, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "measure", None)
    for flags, message, expected in (
        (["--plot", tmp_path / "times.txt"], "ends in .svg, .png, .pdf", 2),
        (["--batch", "0"], "must be a whole number of at least 1", 2),
        (["--plot", tmp_path / "missing" / "times.svg"], "missing", 1),
    ):
        code, out, err = command("bench", finished, *flags)
        assert (code, out, err.count("\n")) == (expected, "", 1) and message in err
    code, out, err = command("bench", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1) and "no model.npz" in err


@pytest.mark.parametrize(("turn", "made", "counted"), [(1.0, 2, 1), (0.0001, 1, 1)])
def test_the_first_call_of_a_turn_counts_only_if_it_takes_the_time_of_all(monkeypatch, turn, made, counted):
    monkeypatch.setattr(forms, "MS", turn)
    clock, calls = iter(range(100)), []
    monkeypatch.setattr(forms.time, "perf_counter", lambda: next(clock) * 2e-3)  # each call takes 2 ms
    assert forms._turn(lambda: calls.append(None)) == pytest.approx([2.0] * counted)
    assert len(calls) == made
