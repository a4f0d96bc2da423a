"""The records of CIFAR-10's batch files: their layout, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from npl0.data import DataError, load_dataset
from npl0.data.cifar10 import RECORD, parse_batch


@settings(max_examples=30)  # a busy machine is no failure
@given(st.data())
def test_records_round_trip(data):
    labels = data.draw(arrays(np.uint8, st.integers(1, 4), elements=st.integers(0, 9)))
    pixels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    stream = b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True))
    images, read = parse_batch(stream, "made")
    assert images.dtype == read.dtype == np.uint8
    np.testing.assert_array_equal(images, pixels)
    np.testing.assert_array_equal(read, labels)


@settings(max_examples=50)  # a busy machine is no failure
@given(first=st.binary(max_size=40), length=st.integers(0, 3 * RECORD))
def test_no_bytes_give_another_exception(first, length):
    stream = first[:length].ljust(length, b"\3")
    if length and length % RECORD == 0:
        images, labels = parse_batch(stream, "made")
        assert images.shape == (length // RECORD, 3, 32, 32) and labels[0] == stream[0]
    else:
        with pytest.raises(DataError, match=r"^made: "):
            parse_batch(stream, "made")


def test_planes_are_red_green_blue_row_by_row():
    stream = bytes([4, *[10] * 1024, *[20] * 1023, 21, *range(32), *[30] * 992])
    (image,), labels = parse_batch(stream, "made")
    assert labels.tolist() == [4] and (image[0] == 10).all()
    assert image[1, 31, 31] == 21 and image[1, 31, 30] == 20 and image[2, 0].tolist() == list(range(32))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", r"0 bytes are 0 records of 3,073 bytes and 0 more; there must be at least one"),
        (bytes(3072), r"3,072 bytes are 0 records .* and 3,072 more; .*: fetch the file again"),
        (bytes(2 * 3074), r"6,148 bytes are 2 records of 3,073 bytes and 2 more; .*CIFAR-100, of longer records"),
    ],
)
def test_bad_records_are_refused(stream, message, cifar_folder):
    with pytest.raises(DataError, match="^made: " + message):
        parse_batch(stream, "made")
    (cifar_folder / "data_batch_3.bin").write_bytes(stream)
    with pytest.raises(DataError, match=r"data_batch_3.bin: " + message):
        load_dataset("cifar10", cifar_folder)


def test_labels_above_nine_are_refused(cifar_folder):
    (cifar_folder / "data_batch_3.bin").write_bytes(bytes(RECORD) + b"\x0a" + bytes(3072))
    with pytest.raises(DataError, match=rf"^{cifar_folder}: .*train_labels has 10 at index 11, outside 0\.\.9"):
        load_dataset("cifar10", cifar_folder)
