"""Run folders: their names, also of the results that are committed, and what they refuse."""

import os
from pathlib import Path

import pytest

from npl0.runs.folder import MADE, RunFolder, RunFolderError
from npl0.settings.sections import build_config
from npl0.settings.toml import format_toml, read_toml

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
COMMITTED = sorted(path.parent for path in RESULTS.glob("*/*/config.toml"))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_results_have_the_name_of_their_settings(folder):
    stored = read_toml(folder / "config.toml")
    config = build_config(stored)
    assert config.run_name() == folder.name
    assert config.used() == stored


def test_all_committed_results_were_compared():
    assert len(COMMITTED) >= 17
    assert {folder.parent.name for folder in COMMITTED} >= {"main", "vgg16"}


def test_a_folder_shows_whether_its_run_is_finished(tmp_path):
    folder = RunFolder(tmp_path, build_config({}))
    assert repr(folder) == f"RunFolder({str(folder.path)!r}, not finished)"
    assert not folder.begun and folder.finished() is None
    with folder.opened():
        folder.write_json("result.json", {"model": "lenet5"})
        (folder.path / "model.npz").touch()
    assert repr(folder) == f"RunFolder({str(folder.path)!r}, finished)"
    assert folder.begun and folder.finished() == {"model": "lenet5"}
    assert read_toml(folder.path / "config.toml") == build_config({}).used()


def test_a_forced_run_replaces_another_ones_settings(tmp_path):
    folder = RunFolder(tmp_path, build_config({}))
    folder.path.mkdir()
    (folder.path / "config.toml").write_text(format_toml(build_config({"seed": 9}).used()), encoding="utf-8")
    with pytest.raises(RunFolderError, match="was made with other settings"), folder.opened():
        pass
    with folder.opened(force=True):
        assert read_toml(folder.path / "config.toml") == build_config({}).used()


def test_a_parent_that_is_no_folder_is_named_before_anything_is_written(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.touch()
    folder = RunFolder(blocked / "deeper", build_config({}))
    with pytest.raises(RunFolderError, match=r"cannot write to .*: .*blocked is not a folder; choose a folder you may"):
        folder.check_writable()
    RunFolder(tmp_path / "new" / "deeper", build_config({})).check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


def test_a_forced_start_that_is_killed_leaves_no_finished_run(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, build_config({}))
    folder.path.mkdir()
    for name in MADE:
        (folder.path / name).touch()
    unlinked = []

    def killed(path, missing_ok=False):
        if unlinked:
            raise KeyboardInterrupt
        unlinked.append(path.name)
        os.unlink(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed)
        folder.clear()
    assert unlinked == ["result.json"] and folder.finished() is None
    # It is gone before the settings of the run are replaced, too.
    folder.result.touch()
    monkeypatch.setattr("npl0.runs.folder.write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), folder.opened(force=True):
        pass
    assert not folder.result.exists()


def test_the_lock_does_not_follow_a_link(tmp_path):
    folder = RunFolder(tmp_path / "runs", build_config({}))
    folder.path.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (folder.path / "lock").symlink_to(precious)
    with pytest.raises(RunFolderError, match="cannot write to"), folder.opened():
        pass
    assert precious.read_text() == "precious"
