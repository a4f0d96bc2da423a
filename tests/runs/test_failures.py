"""A failure is reported in one line with its remedy, and leaves the good files untouched."""

import errno
import functools
import json
import os

import numpy as np
import pytest

from npl0.data import synthetic
from npl0.runs import build, environment
from npl0.runs.progress import ProgressBar
from npl0.settings.sections import build_config
from npl0.training.loop import StopTraining


@pytest.fixture
def checkpoint(run, monkeypatch, tmp_path, runs):
    """The checkpoint of a run that was stopped in its second epoch."""

    def after_step(self, progress, loss):
        if (progress.epoch, progress.batch) == (1, 4):
            raise StopTraining

    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "after_step", after_step)
        assert run(*runs.L0, "--quiet")[0] == 130
    return runs.folder_in(tmp_path / "runs") / "checkpoint.npz"


def test_a_full_disk_is_reported_with_the_file_and_how_to_resume(run, checkpoint, monkeypatch, runs):
    sound, (folder, name) = checkpoint.read_bytes(), (checkpoint.parent, checkpoint.name)

    def full(file, **_):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        code, out, err = run(*runs.L0, "--quiet")
    assert (code, out) == (1, "")
    reported = (
        f"[Errno {errno.ENOSPC}] No space left on device: '{folder / name}'; once that is corrected, the same command "
    )
    assert err.endswith(f"{reported}resumes {folder}\n")
    assert checkpoint.read_bytes() == sound and not list(folder.glob(".*.part"))
    assert run(*runs.L0)[0] == 0


def test_half_written_files_of_a_killed_process_are_deleted(run, checkpoint, runs):
    half = checkpoint.with_name(".checkpoint.npz.12345.part")
    half.write_bytes(b"half of it")
    assert run(*runs.L0)[0] == 0
    assert not half.exists()


def test_a_damaged_checkpoint_is_reported_and_not_overwritten(run, checkpoint, tmp_path, runs):
    sound = checkpoint.read_bytes()
    flipped = bytearray(sound)
    flipped[len(sound) // 2] ^= 0xFF
    lone, foreign = tmp_path / "lone.npy", tmp_path / "foreign.npz"
    np.save(lone, np.ones(3))
    np.savez(foreign, a=np.ones(3))
    damaged = {
        "truncated": sound[: len(sound) // 2],
        "empty": b"",
        "random": np.random.default_rng(0).bytes(1000),
        "one byte flipped": bytes(flipped),
        "a lone array": lone.read_bytes(),
        "a foreign archive": foreign.read_bytes(),
    }
    for what, content in damaged.items():
        checkpoint.write_bytes(content)
        code, out, err = run(*runs.L0)
        assert (code, out) == (1, ""), what
        assert "checkpoint.npz is damaged or not a checkpoint of npl0's" in err and "delete it to start anew" in err, (
            what
        )
        assert checkpoint.read_bytes() == content, what
    checkpoint.write_bytes(sound)
    assert run(*runs.L0)[0] == 0


def test_a_checkpoint_of_other_settings_or_data_is_refused(run, checkpoint, monkeypatch, tmp_path, runs):
    content = checkpoint.read_bytes()
    other = tmp_path / "runs" / build_config(runs.settings_of(*runs.SMALL, *runs.L0, "--seed", "1")).run_name()
    other.mkdir()
    (other / "checkpoint.npz").write_bytes(content)
    code, _, err = run(*runs.L0, "--seed", "1")
    assert (
        code == 1
        and "belongs to a training with other settings; use the same data and start, or repeat with --force" in err
    )
    monkeypatch.setattr("npl0.data.synthetic.load", functools.partial(synthetic.load, seed=1))
    code, _, err = run(*runs.L0)
    assert code == 1 and "was made with other data; use the same data and start, or repeat with --force" in err
    assert run(*runs.L0, "--force")[0] == 0


def test_resuming_with_other_versions_says_what_may_differ(run, checkpoint, monkeypatch, runs):
    there = {**environment.what_bits_depend_on(), "numpy": "1.99.0", "cpu": "Another Processor"}
    arrays = dict(np.load(checkpoint))
    (name,) = (name for name, array in arrays.items() if array.dtype == np.uint8 and array.ndim == 1)
    header = json.loads(arrays[name].tobytes())
    assert header["environment"] == environment.what_bits_depend_on()
    arrays[name] = np.frombuffer(json.dumps({**header, "environment": there}).encode(), np.uint8)
    np.savez(checkpoint, **arrays)
    code, _, err = run(*runs.L0)
    assert code == 0 and "may differ in its last bits" in err
    assert f"numpy was 1.99.0 and is {np.__version__}; cpu was Another Processor and is" in err and "scipy" not in err


def test_a_folder_of_other_settings_is_refused(run, tmp_path, runs):
    run("--epochs", "1")
    folder = runs.folder_in(tmp_path / "runs")
    stored = folder / "config.toml"
    text = stored.read_text()
    stored.write_text(text.replace("seed = 0", "seed = 9"))
    assert stored.read_text() != text
    code, _, err = run("--epochs", "1")
    assert code == 1 and "was made with other settings" in err and "--force" in err
    stored.write_text("not TOML")
    code, _, err = run("--epochs", "1")
    assert code == 1 and "config.toml is not valid TOML" in err and "--force" in err
    assert run("--epochs", "1", "--force")[0] == 0
    assert stored.read_text() == text


def test_a_damaged_result_is_reported(run, tmp_path, runs):
    run("--epochs", "1")
    result = runs.folder_in(tmp_path / "runs") / "result.json"
    sound = json.loads(result.read_text())
    wrong = [json.dumps({**sound, key: value}) for key in ("accuracy", "data", "layers") for value in ([1], None)]
    for text in ("{", "[]", "{}", '"text"', "[" * 100_000, *wrong):
        result.write_text(text)
        code, out, err = run("--epochs", "1")
        assert (code, out) == (1, "") and "result.json is damaged" in err and "--force" in err and err.count("\n") == 1
    result.write_text(json.dumps(sound))
    result.with_name("model.npz").unlink()
    code, out, err = run("--epochs", "1")
    assert (code, out) == (1, "") and "model.npz is not there; repeat the run with --force" in err


def test_a_folder_that_cannot_be_written_fails_before_the_data_loads(run, tmp_path, monkeypatch):
    monkeypatch.setattr("npl0.data.load_dataset", lambda *_: pytest.fail("the data was loaded"))
    blocked = tmp_path / "blocked"
    blocked.touch()
    for out in (blocked, blocked / "deeper"):
        code, _, err = run(out=out)
        assert code == 1 and f"cannot write to {out}" in err and "--out" in err


def test_bad_data_files_fail(run, tmp_path, write_idx):
    data = tmp_path / "data"
    flags = ("--data", "mnist", "--data-dir", str(data))
    code, _, err = run(*flags)
    assert code == 1 and f"{data} does not exist" in err
    data.mkdir()
    code, _, err = run(*flags)
    assert code == 1 and "has no train-images-idx3-ubyte" in err
    _write_set(write_idx, data)
    (data / "t10k-labels-idx1-ubyte").write_bytes(b"<html>no such file</html>")
    code, _, err = run(*flags)
    assert code == 1 and "t10k-labels-idx1-ubyte: begins with 3c 68 74 6d, which is not IDX" in err
    code, _, err = run("--data-dir", str(tmp_path))
    assert code == 1 and "the synthetic set is made, not read" in err


def test_images_of_another_size_give_another_network_or_a_usage_error(run, tmp_path, write_idx):
    data = tmp_path / "data"
    data.mkdir()
    _write_set(write_idx, data, side=20)
    flags = ("--data", "mnist", "--data-dir", str(data), "--epochs", "1")
    code, out, _ = run(*flags, "--json")
    assert code == 0 and json.loads(out)["layers"][0]["size"] == 400 * 300
    code, _, err = run(*flags, "--model", "vgg16")
    assert code == 2 and "vgg16 with images of shape (1, 20, 20): " in err
    network = tmp_path / "large.toml"
    network.write_text(
        'input_shape = [1, 28, 28]\nlayers = [{layer = "Flatten"}, {layer = "Linear", out_features = 10}]'
    )
    code, _, err = run(*flags, "--model", str(network))
    assert code == 2 and "large takes images of shape (1, 28, 28)" in err and "data has (1, 20, 20) in 10" in err
    assert "choose other data, or another model" in err


def test_a_run_builds_its_network_twice(run, monkeypatch):
    built, original = [], build.build_model
    monkeypatch.setattr(build, "build_model", lambda name, **settings: built.append(name) or original(name, **settings))
    assert run("--epochs", "0", "--retrain-epochs", "0", "--method", "dense")[0] == 0
    # Once without drawing its weights, so that what does not fit fails before the data are loaded, and once to train.
    assert len(built) == 2


def _write_set(write_idx, folder, side=28, n=20):
    generator = np.random.default_rng(0)
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte", generator.integers(0, 256, (n, side, side), np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8) % 10)


def test_a_run_trains_on_files_of_the_user(run, tmp_path, write_idx):
    data = tmp_path / "data"
    data.mkdir()
    _write_set(write_idx, data)
    code, out, _ = run("--data", "mnist", "--data-dir", str(data), "--json")
    result = json.loads(out)
    assert (code, result["data"]["train"], result["data"]["canonical"]) == (0, 20, False)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_nan_names_step_and_tensor(run, tmp_path, monkeypatch, runs):
    from npl0.nn import Network

    original, calls = Network.loss_and_gradients, 0

    def poisoned(self, images, labels, workers, key=(0,)):
        nonlocal calls
        calls += 1
        # The first call is the warm-up's.
        if calls == 21:
            self.weights[1].value[0, 0] = np.nan
        return original(self, images, labels, workers, key)

    monkeypatch.setattr(Network, "loss_and_gradients", poisoned)
    code, out, err = run(*runs.L0, "--json")
    assert (code, out) == (1, "")
    assert (
        "at step 19 (epoch 2) the loss became nan; the first tensor that is not finite is the parameter fc2.weight"
        in err
    )
    assert "Lower the learning rate of the train stage" in err
    monkeypatch.undo()
    # The checkpoint of the first epoch is intact: the run ends as if nothing had happened.
    assert run(*runs.L0)[0] == 0
    assert run(*runs.L0, out=tmp_path / "whole")[0] == 0
    runs.same(runs.outcome(runs.folder_in(tmp_path / "runs")), runs.outcome(runs.folder_in(tmp_path / "whole")))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_learning_rate_that_is_far_too_high_fails_with_a_remedy(run, runs):
    code, _, err = run(*runs.L0, "--optimizer", "sgd", "--learning-rate", "100", "--epochs", "4")
    assert code == 1 and "Lower the learning rate" in err


def test_a_layer_that_dies_is_named(run, runs):
    code, _, err = run(*runs.L0, "--l0-lambda", "1e5", "--layer-lambda", "fc2=0")
    assert code == 0
    assert "warning: layer fc1 died: none of its 235,200 weights is left; lower --l0-lambda, or this layer's" in err
    assert "fc2 died" not in err


def test_a_layer_that_collapses_is_named_while_it_does(run, runs):
    flags = ("--epochs", "6", "--gate-learning-rate", "0.2", "--ramp-epochs", "1", "--layer-lambda", "fc2=100")
    code, out, err = run(*runs.L0, *flags, "--json")
    # The warning is true: the network hardly learns, though the other layers have plenty of weights.
    assert code == 0 and json.loads(out)["accuracy"]["retrained"] < 0.6
    assert err.count("is collapsing") == 1
    reported = err.index("warning: layer fc2 is collapsing: ")
    assert (
        "; halve its factor in --layer-lambda, lengthen --ramp-epochs, or start from a tr" in err
        and reported < err.index("train epoch 4/6")
    )


def test_a_layer_that_was_hardly_pruned_is_named(run, runs):
    code, _, err = run("--epochs", "1", "--quiet")
    assert code == 0
    assert "warning: layer fc1 was hardly pruned: 235,200 of 235,200 weights are left; raise --l0-lambda" in err
    _, _, err = run(*runs.FLAGS_OF["dense"])
    assert "hardly pruned" not in err
