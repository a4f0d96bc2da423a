"""The IDX reader refuses every damaged file in words, and reads a folder of four files as a set."""

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from npl0.data import DataError, load_dataset
from npl0.data.idx import parse_idx
from npl0.data.mnist import SHA256
from npl0.data.packed import read_packed

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = SHA256
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
STREAM = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + IMAGES.tobytes()


@pytest.fixture
def folder(tmp_path, write_idx) -> Path:
    """Four good files: 6 training and 3 test images of 5x4 pixels, labels 0..2."""
    pixels = np.random.default_rng(1).integers(0, 256, (9, 5, 4), np.uint8)
    write_idx(tmp_path / TRAIN_IMAGES, pixels[:6])
    write_idx(tmp_path / TRAIN_LABELS, np.array([0, 1, 2, 0, 1, 2], np.uint8))
    write_idx(tmp_path / f"{TEST_IMAGES}.gz", pixels[6:])
    write_idx(tmp_path / f"{TEST_LABELS}.gz", np.array([2, 1, 0], np.uint8))
    return tmp_path


def read(path: Path, ndim: int) -> np.ndarray:
    """Read a file, compressed or not."""
    return parse_idx(read_packed(path), ndim, str(path))


@given(st.data())
def test_round_trip(tmp_path_factory, write_idx, data):
    array = data.draw(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)))
    path = tmp_path_factory.mktemp("idx") / data.draw(st.sampled_from(["file", "file.gz"]))
    write_idx(path, array)
    back = read(path, array.ndim)
    assert back.dtype == np.uint8 and back.shape == array.shape and back.tobytes() == array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_format_is_the_documented_one(pack, tmp_path):
    # The content tells whether a file is compressed, not the name.
    (tmp_path / "file").write_bytes(pack(STREAM))
    np.testing.assert_array_equal(read(tmp_path / "file", 3), IMAGES)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\0\0", "2 bytes, shorter than an IDX header; fetch"),
        (b"<html>not found", "begins with 3c 68 74 6d, which is not IDX .00 00 08 03 expected.*error page"),
        (b"\0\0\x0d\x03" + STREAM[4:], r"type byte 0x0d \(float32 values\); only 0x08 .* an \.npz file"),
        (b"\0\0\x07\x03" + STREAM[4:], r"type byte 0x07 \(unknown values\)"),
        (b"\0\0\x08\x01" + STREAM[4:], "1 dimensions where 3 are expected .* swapped"),
        (STREAM[:10], "truncated at 10 of the 16 bytes of its header"),
        (STREAM[:-1], r"truncated, 39 bytes where its header \(2, 3, 4\) needs 40"),
        (STREAM + b"\0\0", r"too long, 42 bytes where its header \(2, 3, 4\) needs 40"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "truncated, 16 bytes"),
    ],
)
def test_damaged_files_are_refused(stream, message, tmp_path):
    with pytest.raises(DataError, match="^some name: .*" + message):
        parse_idx(stream, 3, "some name")
    for pack in (bytes, gzip.compress, lzma.compress):
        (tmp_path / "file").write_bytes(pack(stream))
        with pytest.raises(DataError, match=r"file: .*" + message):
            read(tmp_path / "file", 3)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(STREAM)[:-9],
        gzip.compress(STREAM)[:5],
        gzip.compress(STREAM)[:-8] + bytes(8),
        gzip.compress(STREAM)[:10] + b"\xff" * 20,
    ],
)
def test_damaged_gzip_data_is_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=r"file: its gzip data is cut or corrupted.*fetch the file again"):
        read_packed(tmp_path / "file")


@given(st.binary(max_size=60))
def test_no_bytes_give_another_exception(tmp_path_factory, stream):
    path = tmp_path_factory.getbasetemp() / "any bytes"
    path.write_bytes(stream)
    try:
        array = read(path, 1)
    except DataError:
        return
    assert array.tobytes() == read_packed(path)[8:]


def test_unreadable_path(tmp_path):
    with pytest.raises(DataError, match=r"absent: cannot be read \(No such file or directory\)"):
        read_packed(tmp_path / "absent")


def test_directory_replaces_the_set(folder):
    dataset = load_dataset("mnist", folder)
    assert dataset.name == folder.name and not dataset.canonical
    assert dataset.image_shape == (1, 5, 4) and dataset.classes == ("0", "1", "2")
    pixels = np.random.default_rng(1).integers(0, 256, (9, 5, 4), np.uint8)
    np.testing.assert_array_equal(dataset.train_images[:, 0], pixels[:6])
    np.testing.assert_array_equal(dataset.test_images[:, 0], pixels[6:])
    assert dataset.train_labels.tolist() == [0, 1, 2, 0, 1, 2] and dataset.test_labels.tolist() == [2, 1, 0]
    scaled = dataset.train_images.astype(np.float64) / 255
    np.testing.assert_allclose((dataset.mean[0], dataset.std[0]), (scaled.mean(), scaled.std()), rtol=1e-12)


def test_spelling_with_a_dot_and_preference_for_plain_files(folder):
    (folder / TRAIN_IMAGES).rename(folder / "train-images.idx3-ubyte")
    (folder / f"{TEST_LABELS}.gz").rename(folder / "t10k-labels.idx1-ubyte.gz")
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"never read: the plain file is there")
    dataset = load_dataset("mnist", str(folder))
    assert dataset.train_images.shape == (6, 1, 5, 4) and dataset.test_labels.tolist() == [2, 1, 0]


def test_one_label_value_still_makes_two_classes(folder, write_idx):
    write_idx(folder / TRAIN_LABELS, np.zeros(6, np.uint8))
    write_idx(folder / f"{TEST_LABELS}.gz", np.zeros(3, np.uint8))
    assert load_dataset("mnist", folder).classes == ("0", "1")


def test_missing_file_lists_what_is_needed_and_found(folder):
    (folder / TRAIN_LABELS).unlink()
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", folder)
    message = str(caught.value)
    assert f"has no {TRAIN_LABELS};" in message
    needed, found = message.split("found there: ")
    assert all(stem in needed for stem in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS))
    assert found == f"{TEST_IMAGES}.gz, {TEST_LABELS}.gz, {TRAIN_IMAGES}"


def test_empty_and_crowded_directories(tmp_path):
    with pytest.raises(DataError, match=r"found there: nothing$"):
        load_dataset("mnist", tmp_path)
    for number in range(15):
        (tmp_path / f"{number:02}.png").touch()
    with pytest.raises(DataError, match=r"found there: 00.png, .*, 11.png and 3 more$"):
        load_dataset("mnist", tmp_path)


def test_counts_must_match(folder, write_idx):
    write_idx(folder / TRAIN_LABELS, np.zeros(5, np.uint8))
    with pytest.raises(DataError, match=rf"^{folder}: .*: train_labels must be .* of 6 integers, one per image, not"):
        load_dataset("mnist", folder)


def test_labels_that_begin_at_1_are_named_with_the_remedy(folder, write_idx):
    """As in the letters of EMNIST."""
    write_idx(folder / TRAIN_LABELS, np.array([1, 26, 2, 3, 4, 5], np.uint8))
    write_idx(folder / TEST_LABELS, np.array([3, 4, 5], np.uint8))
    with pytest.warns(UserWarning, match=r"labels run from 1 to 26, but .* from 0: subtract 1, or class 0 stays empty"):
        letters = load_dataset("mnist", folder)
    assert letters.n_classes == 27


def test_there_may_be_any_number_of_classes(folder, write_idx):
    write_idx(folder / f"{TEST_LABELS}.gz", np.array([2, 10, 61], np.uint8))
    assert load_dataset("mnist", folder).n_classes == 62


def test_empty_images_are_refused(folder, write_idx):
    write_idx(folder / TRAIN_IMAGES, np.zeros((6, 0, 4), np.uint8))
    with pytest.raises(DataError, match=r"train_images have the shape \(6, 1, 0, 4\); every size must be at least 1"):
        load_dataset("mnist", folder)


def test_constant_images_are_refused(folder, write_idx):
    write_idx(folder / TRAIN_IMAGES, np.full((6, 5, 4), 51, np.uint8))
    with pytest.raises(DataError, match=r"channels \(1\) have means 0.2 and standard deviations 0 .* constant channel"):
        load_dataset("mnist", folder)


def test_test_images_of_another_size_are_refused(folder, write_idx):
    write_idx(folder / f"{TEST_IMAGES}.gz", np.zeros((3, 5, 5), np.uint8))
    with pytest.raises(DataError, match=r"train_images have the shape \(1, 5, 4\) .* but test_images \(1, 5, 5\)"):
        load_dataset("mnist", folder)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_decompression_bomb_is_not_unpacked(compress, tmp_path):
    (tmp_path / "bomb").write_bytes(compress(bytes(1 << 25)))
    with pytest.raises(DataError, match=r"bomb: its (gzip|xz) data .*unpacks to a hundred times its size: unpack it"):
        read_packed(tmp_path / "bomb")
    # 16 MB of blank images are no bomb.
    (tmp_path / "blank").write_bytes(compress(bytes(1 << 24)))
    assert read_packed(tmp_path / "blank") == bytes(1 << 24)
