"""What a run leaves: every method, the same bits by every way, one JSON object."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from npl0.nn import Conv2d, Flatten, Linear, Network
from npl0.pruning.l0 import L0
from npl0.pruning.methods import METHODS
from npl0.runs.folder import RunFolder
from npl0.runs.result import measure_layers


@pytest.mark.parametrize("method", METHODS)
def test_every_method_prunes_and_keeps_zeros(run, tmp_path, method, runs):
    code, out, _ = run(*runs.FLAGS_OF.get(method, ("--method", method)), "--json")
    assert code == 0
    result = json.loads(out)
    folder = runs.folder_in(tmp_path / "runs")
    assert result == json.loads((folder / "result.json").read_text())
    names = {path.name for path in folder.iterdir()}
    made = {"log.csv", "layers.csv", "model.npz", "result.json", "environment.json", "snapshots.npz"}
    assert names == {"config.toml", *made}
    size, kept = result["size"]["weights"], result["weights_kept"]
    assert size == 266_200 and sum(row["size"] for row in result["layers"]) == size
    with np.load(folder / "model.npz") as archive:
        nonzero = sum(np.count_nonzero(archive[f"fc{i}.weight"]) for i in (1, 2, 3))
    # No zero was revived: what is in the file is at most what the pruning kept.
    assert nonzero == result["nnz"]["weights"] == kept["retrained"] <= kept["pruned"]
    assert result["compression_ratio"] == pytest.approx(size / nonzero)
    expected = {
        "l0": lambda n: 0 < n < 0.6 * size,
        "magnitude": lambda n: n == round(size / 3),
        "dense": lambda n: n == size,
    }
    assert expected.get(method, lambda n: 0 < n <= size)(kept["pruned"])
    # Chance is 0.1, and the set is easy; but a method that is added may need longer than these few steps.
    assert method not in expected or result["accuracy"]["retrained"] > 0.5
    assert [result["epochs"]["train"], result["epochs"]["retrain"]] == [2, 0 if method == "dense" else 1]
    with open(folder / "log.csv", newline="") as file:
        log = list(csv.DictReader(file))
    assert [row["stage"] for row in log] == ["train", "train"] + ["retrain"] * (method != "dense")


def test_the_dense_method_is_plain_training_bit_for_bit(run, tmp_path, runs):
    flags = ("--learning-rate", "1e-3", "--schedule", "cosine", "--shift", "0")
    assert run("--method", "dense", *flags)[0] == 0
    # The plain loop, written out: no pruner, no stages.
    from npl0.data import load_dataset
    from npl0.nn import ParameterGroup, build_model
    from npl0.ops.schedules import cosine
    from npl0.pruning.base import Step
    from npl0.runtime.rng import generator
    from npl0.runtime.threads import Workers
    from npl0.training.optimizers import Adam, Optimizer

    data = load_dataset("synthetic")
    network = build_model("lenet300", mean=data.mean, std=data.std)
    optimizer = Optimizer([ParameterGroup(network.parameters, 1e-3)], Adam())
    with Workers(1) as workers:
        for step in range(32):
            order = generator(0, "shuffle", 0, step // 16).permutation(2000)
            picked = order[step % 16 * 128 :][:128]
            network.loss_and_gradients(data.train_images[picked], data.train_labels[picked], workers, (0,))
            optimizer.step(workers, Step(step, step / 32, cosine(step / 32)))
    with np.load(runs.folder_in(tmp_path / "runs") / "model.npz") as archive:
        for name, value in network.state().items():
            assert value.tobytes() == archive[name].tobytes(), name


def test_magnitude_prunes_what_dense_training_gives(run, tmp_path, runs):
    flags = ("--epochs", "1", "--retrain-epochs", "0", "--compression", "10", "--criterion", "global")
    run("--method", "dense", *flags, out=tmp_path / "dense")
    run("--method", "magnitude", *flags, out=tmp_path / "magnitude")
    with np.load(runs.folder_in(tmp_path / "dense") / "model.npz") as archive:
        dense = np.concatenate([archive[f"fc{i}.weight"].ravel() for i in (1, 2, 3)])
    with np.load(runs.folder_in(tmp_path / "magnitude") / "model.npz") as archive:
        pruned = np.concatenate([archive[f"fc{i}.weight"].ravel() for i in (1, 2, 3)])
    threshold = np.sort(np.abs(dense))[-26_620]
    np.testing.assert_array_equal(pruned, np.where(np.abs(dense) >= threshold, dense, 0))


def test_json_prints_one_object_and_nothing_else_on_stdout(run):
    for _ in range(2):  # a fresh run, and a finished one that is shown
        code, out, _ = run("--epochs", "1", "--json")
        assert code == 0
        assert json.loads(out)["model"] == "lenet300"
        assert json.loads(out)["config"]["train"]["epochs"] == 1


def test_results_go_to_stdout_and_progress_to_stderr(run, runs):
    code, out, err = run(*runs.L0)
    assert code == 0
    assert "train: 2 epochs: test accuracy" in out and "retrain: 1 epoch: " in out and "run folder: " in out
    assert "train epoch 1/2: loss" in err and "images/s" not in out
    code, out, err = run(*runs.L0, "--seed", "1", "--quiet")
    assert code == 0 and "train: 2 epochs" not in out and err == ""


def test_zero_epochs_are_allowed(run):
    code, out, _ = run("--epochs", "0", "--retrain-epochs", "0", "--method", "magnitude", "--json")
    assert code == 0
    assert json.loads(out)["weights_kept"]["retrained"] == 2662


def test_validation_measures_on_images_set_aside_and_trains_on_the_others(run, monkeypatch):
    plans = []
    monkeypatch.setattr(L0, "begin", lambda self, plan, begin=L0.begin: plans.append(plan) or begin(self, plan))
    code, out, _ = run("--validation", "300", "--epochs", "1", "--json")
    result = json.loads(out)
    assert (code, result["measured_on"], result["total"]) == (0, "validation", 300)
    # Lambda is divided by the images that are trained on: 1,700 are 14 batches of 128.
    assert [(plan.n_train, plan.steps_per_epoch) for plan in plans] == [(1700, 14)]


def test_kept_multiply_adds_are_those_of_the_weights_that_are_not_zero():
    network = Network([Conv2d(2, 3, 3), Flatten(), Linear(3 * 16, 5)], (2, 6, 6))
    for weight, count in zip(network.weights, (7, 11), strict=True):
        weight.value.reshape(-1)[count:] = 0
    # Every weight of the convolution is used at 4 x 4 positions.
    measures = [(row.size, row.nnz, row.macs, row.macs_nnz) for row in measure_layers(network)]
    assert measures == [(54, 7, 54 * 16, 7 * 16), (240, 11, 240, 11)]


def test_a_validation_split_that_leaves_nothing_fails(run):
    code, _, err = run("--validation", "2000")
    assert code == 1 and "cannot set 2000 of synthetic's 2000 training images aside" in err


def test_a_finished_run_is_shown_and_not_repeated_until_forced(run, tmp_path, runs, monkeypatch):
    first = run(*runs.L0)
    folder = runs.folder_in(tmp_path / "runs")
    before, times = runs.outcome(folder), (folder / "log.csv").read_bytes()
    # The folder's own stamp tells that no lock or other file came and went: it may be one that cannot be written.
    stamps = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    code, out, err = run(*runs.L0)
    assert code == 0 and "is finished; this is its result (--force repeats it)" in err
    assert first[1].endswith(out) and "layer" in out
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    cleared = []
    monkeypatch.setattr(RunFolder, "clear", lambda self, clear=RunFolder.clear: cleared.append(self) or clear(self))
    code, _, err = run(*runs.L0, "--force")
    assert code == 0 and "is finished" not in err and len(cleared) == 1
    assert (folder / "log.csv").read_bytes() != times
    runs.same(runs.outcome(folder), before)


@pytest.mark.parametrize("model", ["lenet300", "lenet5"])
def test_one_thread_or_two_give_the_same_bits(run, tmp_path, model, runs):
    for threads in ("1", "2"):
        flags = ("--model", model, "--epochs", "1", "--threads", threads)
        assert run(*runs.L0, *flags, out=tmp_path / threads)[0] == 0
    one, two = runs.outcome(runs.folder_in(tmp_path / "1")), runs.outcome(runs.folder_in(tmp_path / "2"))
    runs.same(one, two)


def test_another_seed_gives_other_bits(run, tmp_path, runs):
    for seed in ("1", "2"):
        run("--epochs", "1", "--seed", seed, out=tmp_path / seed)
    one, two = runs.outcome(runs.folder_in(tmp_path / "1")), runs.outcome(runs.folder_in(tmp_path / "2"))
    assert one[0]["fc1.weight"] != two[0]["fc1.weight"]


def test_log_rows_are_those_of_the_loop(run, tmp_path, runs):
    from npl0.training.loop import EpochRow

    run(*runs.L0)
    with open(runs.folder_in(tmp_path / "runs") / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [field.name for field in dataclasses.fields(EpochRow)]
    assert [row["epoch"] for row in rows] == ["1", "2", "1"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert 0 < float(rows[1]["expected_l0"]) < 266_200 and rows[2]["expected_l0"] == ""
