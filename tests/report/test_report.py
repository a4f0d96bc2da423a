"""The report: what its page holds is what the run recorded, whatever of that can be read."""

import base64
import importlib.util
import json
import math
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0 import __main__
from npl0.ops.hard_concrete import deterministic_gate
from npl0.pruning.base import Plan, Step
from npl0.report import figures, page
from npl0.report.data import film_data, pack_signed
from npl0.report.left import count_reads
from npl0.report.record import ReportError, read_run
from npl0.settings.sections import build_config

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "main"


@pytest.fixture
def command(capfd):
    """Run `python -m npl0 report ...` in this process; return exit code, stdout and stderr."""

    def call(*arguments):
        capfd.readouterr()
        code = __main__.main(["report", *map(str, arguments)])
        return code, *capfd.readouterr()

    return call


def unpacked(text, moments):
    """Undo `data.pack`."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(moments, -1)
    return np.cumsum(steps, axis=0, dtype=np.uint8)


def test_the_page_holds_what_the_run_recorded(finished, command, data_in):
    folder = finished["l0"]
    code, out, err = command(folder)
    assert (code, out, err) == (0, f"{folder / 'report.html'}\n", "")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert len(text) < 3e6 and "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/", "")
    data = data_in(text)
    (run,) = data["runs"]
    assert data["comparison"] is None and run["missing"] == []
    assert run["result"] == json.loads((folder / "result.json").read_text())
    assert len(run["rows"]) == 3 and len(run["course"]) == 4 and len(run["sentences"]) == 3
    network = npl0.load_model(folder)
    final = [np.count_nonzero(weight.value) for weight in network.weights]
    assert [row["nnz"] for row in run["left"]["layers"]] == final == run["film"]["moments"][-1]["kept"]
    assert all(0 < row["live"] <= row["nnz"] for row in run["left"]["layers"])
    stages = [("start", 0), ("train", 1), ("train", 2), ("pruned", 2), ("retrain", 1)]
    assert [(moment["name"], moment["epoch"]) for moment in run["film"]["moments"]] == stages
    answers, images = run["answers"], npl0.load_dataset("synthetic")
    assert answers["points"] == ["trained", "pruned", "retrained"]
    labels, *given = unpacked(answers["classes"], 4).view("<u2")
    assert np.array_equal(labels, images.test_labels)
    right = [np.count_nonzero(classes == labels) for classes in given]
    assert right == [run["result"]["correct"][point] for point in answers["points"]]
    assert np.array_equal(given[0], given[1]), "closed gates are zeros already"
    shown = unpacked(answers["images"], len(answers["picked"])).reshape(-1, 1, 28, 28)
    assert len(shown) and np.array_equal(shown, images.test_images[answers["picked"]])


def test_the_film_is_what_the_snapshots_hold(finished):
    record = read_run(finished["l0"])
    film = film_data(record, room=10**7)
    assert np.array_equal(unpacked(film["cells"], 5), record.arrays["cells"])
    assert film["threshold"] == pytest.approx(-2.3979, abs=1e-4)
    shades = unpacked(film["first"]["values"], 5).reshape(5, 20, 1, 5, 5).astype(int) - 128
    assert np.array_equal(np.sign(shades), np.sign(record.arrays["first"]))
    # With too little room, moments are left out, but not the first and the last.
    short = film_data(record, room=1)
    assert [moment["name"] for moment in short["moments"]] == ["start", "retrain"]
    assert film_data(read_run(finished["magnitude"]), 10**7)["threshold"] is None


@pytest.mark.parametrize("rule", ["paper", "median"])
def test_the_threshold_is_where_the_test_gate_closes(finished, rule):
    record = read_run(finished["l0"])
    record.config = build_config({"l0": {"test_gate": rule}})
    threshold = film_data(record, room=10**7)["threshold"]
    below, above = deterministic_gate(np.array([threshold - 1e-6, threshold + 1e-6]), rule)
    assert below == 0 < above


def test_packed_numbers_keep_zeros_and_signs():
    values = np.array([[0.0, 1e-20, -3.0, 3.0]])
    assert unpacked(pack_signed(values)["values"], 1).tolist() == [[128, 129, 1, 255]]


def test_inputs_are_read_where_a_path_leads_to_a_class(generator):
    layers = [
        npl0.Conv2d(2, 3, 3, stride=2, padding=1),
        npl0.AvgPool2d(2),
        npl0.Conv2d(3, 4, 2),
        npl0.Flatten(),
        npl0.Linear(16, 3),
    ]
    network = npl0.Network(layers, input_shape=(2, 12, 12), dtype=np.float64)
    for weight in network.weights:
        weight.value *= generator.random(weight.value.shape) < 0.12
    reads = count_reads(network)
    # Without a rectifier, the answer changes with an input exactly if there is a path, but for unlikely numbers.
    zero = network.predict(np.zeros((1, 2, 12, 12)))
    ones = np.eye(288).reshape(288, 2, 12, 12)
    answers = np.abs(network.predict(ones) - zero).max(axis=1).reshape(2, 12, 12)
    assert 20 < (reads > 0).sum() < 250
    assert np.array_equal(reads > 0, answers > 1e-14)


def test_first_weights_are_counted_at_every_place():
    network = npl0.Network([npl0.Conv2d(1, 2, 3), npl0.Flatten(), npl0.Linear(8, 2)], input_shape=(1, 4, 4))
    for weight in network.weights:
        weight.value = np.ones_like(weight.value)
    assert count_reads(network)[0].tolist() == [[2, 4, 4, 2], [4, 8, 8, 4], [4, 8, 8, 4], [2, 4, 4, 2]]


def test_layers_of_ones_own_have_no_known_paths():
    class Doubled(npl0.ReLU):
        pass

    network = npl0.Network([Doubled(), npl0.Linear(4, 2)], input_shape=(4,))
    assert count_reads(network) is None


def test_strengths_are_those_that_the_run_used(finished):
    record = read_run(finished["l0"])
    lines, per_epoch = figures.strengths(record), record.steps_per_epoch
    assert per_epoch == 16 and lines["lambda"].shape == (2, 32) and lines["weights"].shape == (2, 48)
    pruner = npl0.L0(npl0.build_model("lenet5"), **vars(record.config.options))
    pruner.begin(Plan(0, 2000, 2, per_epoch))
    for x, value in lines["lambda"].T:
        assert value == 4 * pruner.ramp(Step(round(x * per_epoch)))
    # step: a tenth from 70 % of the training on; the gates follow a schedule of the same name.
    late = lines["gates"][0] * per_epoch / 32 >= 0.7
    assert np.allclose(lines["gates"][1], np.where(late, 0.06, 0.6))
    assert lines["weights"][1][32] == record.config.retrain.learning_rate


def test_several_runs_are_compared(finished, command, data_in, tmp_path):
    path = tmp_path / "page.html"
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.toml").write_bytes((finished["l0"] / "config.toml").read_bytes())
    code, out, err = command(finished["magnitude"], RESULTS / "lenet5-mnist-l0-750ccc39-s0", unfinished, "--out", path)
    assert code == 0 and out == f"{path}\n"
    assert "This run is not finished: 0 of 3 epochs" in err and "this goes on with it: python -m npl0.run" in err
    data = data_in(path.read_text(encoding="utf-8"))
    assert [bool(run["result"]) for run in data["runs"]] == [True, True, False]
    assert data["comparison"].startswith("<svg") and len(path.read_text()) < 3e6


def test_a_run_without_snapshots_shows_the_rest(command, copied, data_in):
    folder = copied()
    (folder / "snapshots.npz").unlink()
    code, _, err = command(folder)
    assert code == 0 and "There is no snapshots.npz" in err and "repeat the run" in err
    (run,) = data_in((folder / "report.html").read_text(encoding="utf-8"))["runs"]
    assert run["film"] is None and run["answers"] is None and len(run["missing"]) == 1
    assert len(run["course"]) == 4 and len(run["left"]["layers"]) == 4
    kept = np.count_nonzero(npl0.load_model(folder).weights[0].value)
    assert np.count_nonzero(unpacked(run["left"]["filters"]["values"], 1) != 128) == kept


@pytest.mark.parametrize("name", ["result.json", "environment.json", "log.csv", "model.npz", "snapshots.npz"])
@pytest.mark.parametrize("content", [b"{]", b'{"a": 1}', b"stage,epoch\ntrain,nan\n", b"\xff\x00" * 5], ids=range(4))
def test_a_damaged_file_is_named(copied, name, content):
    folder = copied()
    (folder / name).write_bytes(content)
    missing = read_run(folder).missing
    named = any(text.startswith(f"{name} cannot be read, so what it holds is missing: ") for text in missing)
    if name == "result.json":
        (said,) = (text for text in missing if text.startswith("This run is finished, but its result.json is damaged"))
        assert said.endswith("--force") and not any("not finished" in text for text in missing)
    # A line of text is a log of no epochs, and any object may describe an environment.
    assert named != (
        (name, content) in {("log.csv", b"{]"), ("log.csv", b'{"a": 1}'), ("environment.json", b'{"a": 1}')}
    )


def test_what_is_not_damaged_is_shown(command, copied, data_in):
    folder = copied()
    for name in ("environment.json", "log.csv", "snapshots.npz"):
        (folder / name).write_bytes(b"\xff\x00")
    code, _, err = command(folder)
    assert code == 0 and err.count("cannot be read, so what it holds is missing") == 3
    (run,) = data_in((folder / "report.html").read_text(encoding="utf-8"))["runs"]
    assert len(run["missing"]) == 3 and run["film"] is None and run["rows"] == [] and run["sentences"] == {}
    # The learning rates follow from the settings and the size of the data alone.
    assert len(run["course"]) == 1 and len(run["left"]["layers"]) == 4 and run["config"]["model"] == "lenet5"


def test_a_running_run_is_shown_as_far_as_it_is(command, copied, data_in):
    folder = copied()
    for name in ("result.json", "model.npz", "layers.csv"):
        (folder / name).unlink()
    log = (folder / "log.csv").read_text().splitlines(keepends=True)
    (folder / "log.csv").write_text("".join(log[:3]))
    code, _, err = command(folder)
    assert code == 0 and "2 of 3 epochs are recorded" in err
    (run,) = data_in((folder / "report.html").read_text(encoding="utf-8"))["runs"]
    assert run["result"] == {} and run["left"] is None and run["film"] and len(run["course"]) == 4


def test_what_cannot_be_reported_is_said(command, finished, tmp_path):
    folder = finished["l0"]
    code, _, err = command(tmp_path / "nowhere")
    assert code == 1 and "nowhere does not exist; name the folder of a run" in err
    code, _, err = command(folder.parent)
    assert code == 1 and f"has no config.toml; it holds the runs {folder.name}: name them" in err
    (tmp_path / "config.toml").write_text("model = 3\n")
    code, _, err = command(tmp_path)
    assert code == 1 and "cannot be shown" in err
    code, _, err = command(folder, "--out", tmp_path / "no" / "page.html")
    assert code == 1 and "page.html: No such file or directory; name another file with --out" in err
    code, _, err = command(folder, "--out", tmp_path)
    assert code == 1 and "Is a directory; name another file" in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_path_without_permission_is_said(command, finished, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, _, err = command(finished["l0"], "--out", closed / "page.html")
    assert code == 1 and "Permission denied; name another file" in err


def test_without_matplotlib_nothing_is_done(monkeypatch, command, run, finished, tmp_path):
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else original(name))
    code, _, err = command(finished["l0"], "--out", tmp_path / "page.html")
    assert code == 1 and "needs matplotlib, the extra `plot`: pip install" in err
    code, _, err = run("--report", out=tmp_path / "runs")
    assert code == 1 and "needs matplotlib" in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_makes_its_report(run, runs, tmp_path):
    code, out, err = run(*runs.L0, "--report", "--json")
    folder = runs.folder_in(tmp_path / "runs")
    assert code == 0 and json.loads(out)["model"] == "lenet300" and f"report: {folder / 'report.html'}" in err
    before = (folder / "report.html").read_text(encoding="utf-8")
    # A finished run makes it anew; the same files give the same page.
    (folder / "report.html").unlink()
    assert run(*runs.L0, "--report", "--quiet")[0] == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == before


def test_a_missing_browser_is_said(monkeypatch, command, finished):
    monkeypatch.setattr("webbrowser.open", lambda address: not address.startswith("file:///"))
    code, _, err = command(finished["l0"], "--open")
    assert code == 0 and "no browser was found; open " in err


def test_names_cannot_break_the_page(finished, data_in):
    record = read_run(finished["magnitude"])
    names = ["</script><b>", "<!--<script>", "&amp;", *"3456789"]
    record.header["classes"] = names
    text = page.make_page([record])
    assert data_in(text)["runs"][0]["answers"]["names"] == names
    assert "</script><b>" not in text and "<!--<script>" not in text


def test_a_record_of_a_file_in_the_folder_is_that_of_the_folder(finished):
    assert read_run(finished["l0"] / "model.npz").path == finished["l0"]
    with pytest.raises(ReportError):
        read_run("")


def test_a_dense_run_has_no_pruning_to_show(run, runs, tmp_path, data_in):
    assert run("--method", "dense", "--report", "--quiet", "--json")[0] == 0
    (shown,) = data_in((runs.folder_in(tmp_path / "runs") / "report.html").read_text(encoding="utf-8"))["runs"]
    assert list(shown["sentences"]) == shown["answers"]["points"] == ["trained"]
    assert math.isclose(shown["film"]["moments"][-1]["kept"][0], 235_200)
