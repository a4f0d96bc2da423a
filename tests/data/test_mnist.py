"""The packaged MNIST is the published one, and damage to it is noticed."""

import hashlib
import shutil

import numpy as np
import pytest

from npl0.data import DataError, Dataset, channel_statistics, load_dataset, mnist
from npl0.data.packed import read_packed

PACKAGED = mnist.PACKAGED


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("mnist")


@pytest.fixture
def relocated(tmp_path, monkeypatch):
    """A copy of the packaged files that are read, to be damaged."""
    shutil.copytree(PACKAGED, tmp_path / "files")
    monkeypatch.setattr(mnist, "PACKAGED", tmp_path / "files")
    return tmp_path / "files"


@pytest.mark.parametrize(("stem", "sha256"), mnist.SHA256.items())
def test_packaged_stream_has_the_published_checksum(stem, sha256):
    assert hashlib.sha256(read_packed(PACKAGED / f"{stem}.gz")).hexdigest() == sha256


def test_known_facts(dataset):
    assert dataset.canonical and dataset.name == "mnist"
    assert dataset.image_shape == (1, 28, 28) and dataset.n_classes == 10
    assert dataset.classes == tuple("0123456789")
    assert dataset.mean == (0.1307,) and dataset.std == (0.3081,)
    assert dataset.train_images.shape == (60_000, 1, 28, 28) and dataset.test_images.shape == (10_000, 1, 28, 28)
    assert dataset.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The class counts that are published with the set.
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(dataset.train_labels).tolist() == train_counts
    assert np.bincount(dataset.test_labels).tolist() == test_counts


def test_statistics_round_to_the_usual_constants(dataset):
    (mean,), (std,) = channel_statistics(dataset.train_images)
    assert (round(mean, 8), round(std, 8)) == (0.13066048, 0.30810780)


def test_fingerprint_is_fixed(dataset):
    """Records of old runs name the data by this value: changing it must be deliberate."""
    assert dataset.fingerprint == "e0130f111822ed58de3ba94ad450971c80ee446d2ff4d08e2b4c8e8be16eae50"


def test_the_same_files_in_a_directory_are_the_same_set(dataset, tmp_path):
    shutil.copytree(PACKAGED, tmp_path / "anything")
    copied = load_dataset("mnist", tmp_path / "anything")
    assert copied.canonical and copied.name == "mnist" and copied.fingerprint == dataset.fingerprint
    assert (copied.mean, copied.std) == (dataset.mean, dataset.std)


def test_packaged_files_stay_small():
    assert 8e6 < sum(path.stat().st_size for path in PACKAGED.iterdir()) <= 12e6


def test_attribution_is_beside_the_data():
    text = (PACKAGED / "ATTRIBUTION.md").read_text(encoding="utf-8")
    facts = ("CC BY-SA 3.0", "Yann LeCun", "Corinna Cortes", "NIST", "unmodified", "1998")
    for needed in (*facts, *mnist.SHA256.values()):
        assert needed in text


def test_corrupted_package_asks_for_reinstallation(relocated):
    path = relocated / "t10k-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"packaged with npl0 is damaged \(.*t10k-images.*reinstall npl0"):
        load_dataset("mnist")


def test_missing_packaged_file_asks_for_reinstallation(relocated):
    (relocated / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"damaged \(.*train-labels.*reinstall npl0"):
        load_dataset("mnist")


def test_intact_files_with_other_content_are_refused(relocated):
    """gzip's own check cannot notice one label changed before compression; the SHA-256 must."""
    path = relocated / "t10k-labels-idx1-ubyte.gz"
    stream = bytearray(read_packed(path))
    stream[-1] = (stream[-1] + 1) % 10
    path.write_bytes(bytes(stream))
    with pytest.raises(DataError, match=r"SHA-256 is not the published one.*reinstall npl0"):
        load_dataset("mnist")
