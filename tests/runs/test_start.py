"""Runs that start from a trained network: what they take over, record and refuse."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from npl0.cli import run as run_module
from npl0.declare import ConfigError
from npl0.nn import build_model
from npl0.runs.progress import ProgressBar
from npl0.runs.start import load_start
from npl0.settings.presets import INIT_PRESETS
from npl0.settings.sections import build_config
from npl0.sparse import fold_batchnorm
from npl0.storage.archive import CheckpointError
from npl0.storage.model_file import load_model, save_model
from npl0.training.loop import StopTraining


@pytest.fixture(scope="module")
def dense(tmp_path_factory, runs):
    """The folder of a finished dense run."""
    parent = tmp_path_factory.mktemp("dense")
    assert run_module.main([*runs.SMALL, "--method", "dense", "--quiet", "--out", str(parent)]) == 0
    return runs.folder_in(parent)


def arrays_of(folder):
    """Return the arrays of a run's model."""
    with np.load(folder / "model.npz") as archive:
        return {name: archive[name] for name in archive.files if name != "header"}


# Gates that start at 5 are exactly 1 when they are tested.
@pytest.mark.parametrize(
    "flags", [("--method", "magnitude", "--compression", "3"), ("--method", "l0", "--log-alpha-init", "5")]
)
def test_without_an_epoch_of_training_the_start_is_what_is_pruned(run, dense, tmp_path, runs, flags):
    code, out, _ = run(*flags, "--init-from", str(dense), "--epochs", "0", "--retrain-epochs", "0")
    assert code == 0 and out.startswith("start: test accuracy ") and "\ninitial " in out
    folder = runs.folder_in(tmp_path / "runs")
    result, before = (json.loads((path / "result.json").read_text()) for path in (folder, dense))
    assert result["correct"]["initial"] == result["correct"]["trained"] == before["correct"]["trained"]
    assert result["accuracy"]["initial"] == before["accuracy"]["trained"]
    assert result["init_from"]["path"] == str(dense / "model.npz") and len(result["init_from"]["sha256"]) == 64
    mine, its = arrays_of(folder), arrays_of(dense)
    kept = {name: mine[name] != 0 for name in its if name.endswith("weight")}
    assert all((mine[name][mask] == its[name][mask]).all() for name, mask in kept.items())
    assert sum(mask.sum() for mask in kept.values()) == result["weights_kept"]["pruned"] > 50_000


def test_training_continues_from_the_start_and_resumes_to_the_same_bits(run, dense, tmp_path, monkeypatch, runs):
    flags = (*runs.L0, "--init-from", os.path.relpath(dense), "--quiet")
    assert run(*flags, out=tmp_path / "whole")[0] == 0
    whole = runs.folder_in(tmp_path / "whole")
    assert json.loads((whole / "result.json").read_text())["config"]["init_from"] == os.path.relpath(dense)
    first_epoch = runs.outcome(whole)[2][0]
    # From random weights it is 1.4.
    assert float(first_epoch["loss"]) < 0.7

    def after_step(self, progress, loss):
        if (progress.epoch, progress.batch) == (1, 4):
            raise StopTraining

    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "after_step", after_step)
        assert run(*flags, out=tmp_path / "stopped")[0] == 130
    assert run(*flags, out=tmp_path / "stopped")[0] == 0
    runs.same(runs.outcome(runs.folder_in(tmp_path / "stopped")), runs.outcome(whole))


def test_a_start_that_has_changed_is_reported(run, dense, tmp_path, monkeypatch, runs):
    start = tmp_path / "start.npz"
    shutil.copyfile(dense / "model.npz", start)
    flags = (*runs.L0, "--init-from", str(start), "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "after_step", lambda *_: (_ for _ in ()).throw(StopTraining))
        assert run(*flags, out=tmp_path / "unfinished")[0] == 130
    assert run(*flags, out=tmp_path / "finished")[0] == 0
    assert run(*flags, out=tmp_path / "finished")[0] == 0
    save_model(start, build_model("lenet300"))
    for out in ("unfinished", "finished"):
        code, _, err = run(*flags, out=tmp_path / out)
        assert code == 1 and f"began from another network than {start}; repeat with --force" in err
        assert run(*flags, "--force", out=tmp_path / out)[0] == 0


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_has_begun_does_not_need_its_start_any_more(run, dense, tmp_path, monkeypatch, runs, finished):
    start = tmp_path / "start"
    shutil.copytree(dense, start)
    flags = (*runs.L0, "--init-from", str(start), "--quiet")
    assert run(*flags, out=tmp_path / "whole")[0] == 0
    if not finished:
        with monkeypatch.context() as patch:
            patch.setattr(ProgressBar, "after_step", lambda *_: (_ for _ in ()).throw(StopTraining))
            assert run(*flags, out=tmp_path / "stopped")[0] == 130
    shutil.rmtree(start)
    out = tmp_path / ("whole" if finished else "stopped")
    assert run(*flags, "--dry-run", out=out)[0] == 0
    code, _, err = run(*flags, out=out)
    assert (code, err) == (0, "")
    runs.same(runs.outcome(runs.folder_in(out)), runs.outcome(runs.folder_in(tmp_path / "whole")))
    origin = json.loads((runs.folder_in(out) / "result.json").read_text())["init_from"]
    assert origin["path"] == str(start / "model.npz") and len(origin["sha256"]) == 64
    code, _, err = run(*flags, "--force", out=out)
    assert code == 1 and f"cannot start from {start}: {start} does not exist" in err


def test_every_spelling_of_a_start_gives_one_name(dense, monkeypatch, runs):
    monkeypatch.chdir(dense.parent)
    name = dense.name
    spellings = [name, f"{name}/", f"./{name}", f"{name}/model.npz", f"{name}/../{name}//model.npz"]
    configs = [run_module.resolve(runs.settings_of(*runs.SMALL, "--init-from", text)) for text in spellings]
    assert {config.init_from for config in configs} == {name} and len({config.digest() for config in configs}) == 1
    monkeypatch.chdir(dense)
    for text, stands_for in (("model.npz", "."), (".", "."), ("../other.npz", "../other.npz"), ("", "")):
        assert run_module.resolve({"init_from": text}).init_from == stands_for


def test_a_start_that_may_have_seen_the_validation_split_is_refused(run, dense, tmp_path, runs):
    assert run("--method", "dense", "--epochs", "1", "--validation", "300", out=tmp_path / "split")[0] == 0
    split, unknown = runs.folder_in(tmp_path / "split"), tmp_path / "unknown.npz"
    save_model(unknown, load_model(split))
    flags = ("--method", "magnitude", "--epochs", "0", "--retrain-epochs", "0", "--init-from")
    for source, seed in ((dense, 0), (unknown, 0), (split, 1)):
        code, _, err = run(*flags, str(source), "--validation", "300", "--seed", str(seed))
        assert code == 2 and f"cannot start from {source}: it was not trained with --data synthetic" in err
        assert f"--validation 300 --seed {seed}, so it may have seen the images that this run holds out" in err
    assert run(*flags, str(split), "--validation", "300")[0] == 0
    # Without a split, no image is held out.
    assert run(*flags, str(split), "--seed", "1")[0] == 0


def test_a_bad_start_is_refused_before_the_data_are_loaded(run, dense, tmp_path, monkeypatch):
    monkeypatch.setattr("npl0.data.load_dataset", lambda *_: pytest.fail("the data was loaded"))
    empty, unfinished, damaged = tmp_path / "empty", tmp_path / "unfinished", tmp_path / "damaged.npz"
    bare = tmp_path / "bare"
    for folder in (empty, unfinished, bare):
        folder.mkdir()
    (bare / "result.json").write_text("{}")
    (unfinished / "checkpoint.npz").touch()
    damaged.write_bytes((dense / "model.npz").read_bytes()[:-100])
    for source, code, message in [
        (tmp_path / "nowhere", 1, f"does not exist (the current directory is {os.getcwd()}); name a finished run"),
        (empty, 1, f"{empty} has no model.npz; name the folder of a finished run"),
        (unfinished, 1, f"the run {unfinished} is not finished; finish it with: python -m npl0.run --config"),
        (damaged, 1, "damaged.npz is damaged or not a model of npl0's"),
        (bare, 1, f"the run {bare} is finished, but its model.npz is not there; repeat the run in another --out"),
        (dense, 2, "it holds a lenet300, and this run trains lenet5; use its --model and --width"),
    ]:
        for dry in ((), ("--dry-run",)):
            model = "lenet5" if source is dense else "lenet300"
            done = run("--model", model, "--init-from", str(source), *dry)
            assert done[:2] == (code, "") and f"cannot start from {source}: " in done[2] and message in done[2], source
    assert not (tmp_path / "runs").exists()


def test_buffers_are_loaded_and_another_width_is_named(tmp_path):
    path = tmp_path / "model.npz"
    config = build_config({"model": "vgg16", "init_from": str(path)})
    small, other, wide = (
        build_model("vgg16", seed=seed, width=width) for seed, width in ((0, 1 / 16), (1, 1 / 16), (0, 0.125))
    )
    for name, value in small.state().items():
        value += 1 if "running" in name else 0
    save_model(path, small)
    before = {name: value.copy() for name, value in other.state().items()}
    arrays = load_start(config, other).arrays
    for name, value in small.state().items():
        np.testing.assert_array_equal(arrays[name], value)
        # The network is only compared; the run loads the arrays.
        np.testing.assert_array_equal(other.state()[name], before[name])
    with pytest.raises(
        ConfigError,
        match=r"conv1\.weight has shape \(8, 3, 3, 3\), the stored one \(4, 3, 3, 3\) of float32; use its --model",
    ):
        load_start(config, wide)
    save_model(path, fold_batchnorm(small))
    with pytest.raises(
        ConfigError, match=r"vgg16: bn1\.running_mean, bn1\.running_var, bn1\.scale and \d+ more do not"
    ):
        load_start(config, small)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_start(dataclasses.replace(config, init_from=str(tmp_path / "none")), small)


@pytest.mark.parametrize(("model", "method"), INIT_PRESETS)
def test_runs_from_a_start_have_their_own_preset(model, method):
    preset = INIT_PRESETS[model, method]
    settings = {"model": model, "method": method}
    plain, begun = (build_config({**settings, **start}).used() for start in ({}, {"init_from": "/run"}))
    for section, values in preset.items():
        assert begun[section] == {**plain[section], **values} != plain[section]
    assert build_config({**settings, "init_from": "/run", "train": {"epochs": 7}}).train.epochs == 7


def test_a_lone_image_for_a_batch_norm_is_a_usage_error(cifar_folder, tmp_path, capsys):
    flags = ["--model", "vgg16", "--width", "0.0625", "--data-dir", str(cifar_folder), "--out", str(tmp_path / "runs")]
    for more in (["--batch-size", "1"], ["--shard-size", "1"]):
        assert run_module.main([*flags, *more]) == 2
        assert "bn14 of vgg16 cannot normalise a single image: 25 training images in " in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    # 24 of the 25 images are two batches, and one is left.
    assert run_module.main([*flags, "--batch-size", "12"]) == 2
    reason = "25 training images in batches of 12 and shards of 64 leave one alone; use another batch size"
    assert reason in capsys.readouterr().err


def test_vgg16_goes_from_a_dense_run_to_a_pruned_one(cifar_folder, tmp_path, capsys):
    flags = ["--model", "vgg16", "--width", "0.0625", "--data-dir", str(cifar_folder), "--offline", "--threads", "1"]
    flags += ["--quiet", "--json"]

    def result_of(*more):
        assert run_module.main([*flags, *more]) == 0
        return json.loads(capsys.readouterr().out)

    dense, pruned = tmp_path / "dense", tmp_path / "pruned"
    before = result_of("--method", "dense", "--epochs", "3", "--out", str(dense))
    (folder,) = dense.iterdir()
    start = ("--init-from", str(folder), "--out", str(pruned))
    after = result_of(*start, "--method", "magnitude", "--retrain-epochs", "1")
    assert after["correct"]["initial"] == after["correct"]["trained"] == before["correct"]["trained"]
    assert after["nnz"]["weights"] == after["weights_kept"]["pruned"] == round(after["size"]["weights"] / 30)
    gated = result_of(*start, "--epochs", "0", "--retrain-epochs", "0")
    # Gates that start at 2.9 are exactly 1 when they are tested, so that the start is the dense network itself.
    assert gated["config"]["l0"]["log_alpha_init"] == 2.9
    assert gated["correct"]["trained"] == gated["correct"]["initial"] == before["correct"]["trained"]


def test_a_model_in_float64_is_rounded(run, tmp_path, runs):
    save_model(tmp_path / "m.npz", network := build_model("lenet300", dtype="float64", seed=3))
    flags = ("--method", "magnitude", "--epochs", "0", "--retrain-epochs", "0", "--compression", "2")
    assert run(*flags, "--init-from", str(tmp_path / "m.npz"))[0] == 0
    stored, weight = arrays_of(runs.folder_in(tmp_path / "runs"))["fc1.weight"], network.weights[0].value
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored[stored != 0], weight.astype(np.float32)[stored != 0])
