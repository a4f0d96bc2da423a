"""Data sets by name: what is known of them, and what an unknown name or directory is answered."""

import subprocess
import sys
from pathlib import Path

import pytest

import npl0.data
from npl0.data import DATASETS, DataError, load_dataset

ROOT = Path(__file__).parent.parent.parent


def test_every_set_is_what_the_registry_says_before_it_is_loaded(cifar_folder):
    assert set(DATASETS) >= {"mnist", "cifar10", "synthetic"}
    loaded = {name: load_dataset(name, cifar_folder if name == "cifar10" else None) for name in DATASETS}
    for name, dataset in loaded.items():
        assert dataset.image_shape == DATASETS[name].image_shape and dataset.n_classes == DATASETS[name].n_classes
        assert dataset.name == ("cifar" if name == "cifar10" else name)


def test_the_registry_loads_no_arrays():
    code = "import sys; from npl0.data.registry import DATASETS; print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_every_public_name_is_there():
    assert "load_dataset" in npl0.data.__all__
    for name in npl0.data.__all__:
        assert getattr(npl0.data, name) is not None


@pytest.mark.parametrize(("name", "suggestion"), [("mnits", "mnist"), ("MNIST", "mnist"), ("sintetic", "synthetic")])
def test_unknown_name_is_answered_with_the_nearest(name, suggestion):
    with pytest.raises(DataError, match=rf"data set '{name}' is unknown: did you mean '{suggestion}'\?"):
        load_dataset(name)


def test_name_like_no_other_is_answered_with_the_list():
    with pytest.raises(DataError, match=r"data set 'zzz' is unknown: use one of .*mnist, .*synthetic"):
        load_dataset("zzz")


def test_directory_must_exist(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; name one that holds four IDX files like MNIST's, or"):
        load_dataset("mnist", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a directory; name one"):
        load_dataset("mnist", tmp_path / "file")


def test_synthetic_takes_no_directory(tmp_path):
    with pytest.raises(DataError, match=r"synthetic set is made, not read.*as mnist"):
        load_dataset("synthetic", tmp_path)
