"""Data sets by name: what is known, and what an unknown name or directory is answered."""

import pytest

from npl0.data import DATASETS, IMAGE_SHAPES, DataError, load_dataset
from npl0.settings.sections import DATA_NAMES


def test_every_registered_set_loads_under_its_name():
    assert {"mnist", "synthetic"} <= set(DATASETS)
    assert set(DATASETS) == set(DATA_NAMES) == set(IMAGE_SHAPES)
    assert load_dataset("synthetic").name == "synthetic"


def test_every_set_has_the_shape_that_is_known_before_it_is_loaded(cifar_folder):
    sets = [load_dataset("mnist"), load_dataset("synthetic"), load_dataset("cifar10", cifar_folder)]
    assert {data.name: data.image_shape for data in sets} == IMAGE_SHAPES


@pytest.mark.parametrize(("name", "suggestion"), [("mnits", "mnist"), ("MNIST", "mnist"), ("sintetic", "synthetic")])
def test_unknown_name_is_answered_with_the_nearest(name, suggestion):
    with pytest.raises(DataError, match=rf"data set '{name}' is unknown: did you mean '{suggestion}'\?"):
        load_dataset(name)


def test_name_like_no_other_is_answered_with_the_list():
    with pytest.raises(DataError, match=r"data set 'zzz' is unknown: use one of .*mnist, .*synthetic"):
        load_dataset("zzz")


def test_directory_must_exist(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; name one that holds the files of mnist"):
        load_dataset("mnist", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a directory; name one"):
        load_dataset("mnist", tmp_path / "file")


def test_synthetic_takes_no_directory(tmp_path):
    with pytest.raises(DataError, match=r"synthetic set is made, not read.*as mnist"):
        load_dataset("synthetic", tmp_path)
