"""IDX, the file format of MNIST and of the sets made in its image (Fashion-MNIST, KMNIST ...).

All numbers are big-endian. Bytes 0 and 1 are zero, byte 2 is the type of the values (0x08 is uint8), byte 3
the number of dimensions; a uint32 for every dimension follows, then the values, the last dimension running
fastest. Images therefore begin with 00 00 08 03 and labels with 00 00 08 01 (format: Yann LeCun's MNIST
page).
"""

import gzip
import hashlib
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset, channel_statistics
from npl0.data.packed import listing, read_bytes, unpack

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

# SHA-256 of the four published MNIST files, unpacked: the hash of a .gz also depends on who compressed it.
MNIST_SHA256 = {
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# The constants the literature normalises MNIST with; exactly, they are 0.13066048 and 0.30810780.
MNIST_MEAN, MNIST_STD = (0.1307,), (0.3081,)

MAX_CLASSES = 10
_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def read_idx(source: str | os.PathLike[str] | bytes, ndim: int, origin: str = "IDX bytes") -> np.ndarray:
    """Read one IDX file of bytes.

    Parameters
    ----------
    source : the path of a file, or its content; gzip is recognised by its first bytes, not by the file's
        name.
    ndim : the number of dimensions it must have: 3 for images, 1 for labels.
    origin : what messages call `source` when it is content; a path is called by itself.

    Returns
    -------
    uint8 array of `ndim` dimensions, read-only: it is a view of the unpacked bytes.

    Raises
    ------
    DataError
        If the file cannot be read or unpacked, is not IDX, holds another type or number of dimensions, or is
        shorter or longer than its header says.
    """
    if not isinstance(source, bytes):
        origin, source = str(source), read_bytes(Path(source))
    stream = unpack(source, origin)
    again = "fetch the file again"
    if len(stream) < 4:
        raise DataError(f"{origin}: {len(stream)} bytes, shorter than an IDX header; {again}")
    if stream[:2] != b"\0\0":
        raise DataError(
            f"{origin}: begins with {stream[:4].hex(' ')}, which is not IDX (00 00 08 {ndim:02x} expected); "
            "an error page saved under the file's name looks like this: look at it, then " + again
        )
    if stream[2] != 0x08:
        held = _TYPES.get(stream[2], "unknown")
        raise DataError(
            f"{origin}: type byte 0x{stream[2]:02x} ({held} values); only 0x08 (uint8) is read: "
            "convert the values to 0..255 and save them with write_idx"
        )
    if stream[3] != ndim:
        raise DataError(
            f"{origin}: {stream[3]} dimensions where {ndim} are expected (images have 3, labels 1); "
            "check that the image file and the label file are not swapped"
        )
    header = 4 + 4 * ndim
    if len(stream) < header:
        raise DataError(f"{origin}: truncated at {len(stream)} of the {header} bytes of its header; {again}")
    shape = struct.unpack_from(f">{ndim}I", stream, 4)
    expected = header + math.prod(shape)
    if len(stream) < expected:
        raise DataError(f"{origin}: truncated, {len(stream)} bytes where its header {shape} needs {expected}; {again}")
    if len(stream) > expected:
        raise DataError(
            f"{origin}: {len(stream) - expected} trailing bytes after the {expected} that its header {shape} "
            f"needs; {again}"
        )
    return np.frombuffer(stream, np.uint8, offset=header).reshape(shape)


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write a uint8 array as an IDX file, compressed when the name ends in `.gz`.

    Parameters
    ----------
    path : where to write; an existing file is replaced.
    array : uint8, of 1 to 255 dimensions: `(N, H, W)` for images, `(N,)` for labels.

    Raises
    ------
    DataError
        If the array is of another dtype or has no dimension.
    """
    if array.dtype != np.uint8 or not 1 <= array.ndim <= 255:
        raise DataError(
            f"cannot write {array.dtype} {array.shape} as IDX; it must be uint8 of at least 1 dimension: "
            "use array.astype(numpy.uint8) after checking that the values are in 0..255"
        )
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    stream = header + array.tobytes()
    path = Path(path)
    # Without a time stamp the same array always gives the same file.
    path.write_bytes(gzip.compress(stream, mtime=0) if path.suffix == ".gz" else stream)


def load_idx_directory(directory: str | os.PathLike[str], name: str) -> Dataset:
    """Load the four IDX files of a directory: training and test images and labels.

    Parameters
    ----------
    directory : holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, each plain or with `.gz`, or spelled with a dot (`train-images.idx3-ubyte`).
        A plain file is preferred to a compressed one.
    name : the name the set gets.

    Returns
    -------
    Dataset, see `dataset_from_streams`.

    Raises
    ------
    DataError
        If the directory or a file is missing, or for anything `read_idx` or `Dataset` refuses.
    """
    directory = Path(directory)
    if not directory.is_dir():
        state = "is not a directory" if directory.exists() else "does not exist"
        raise DataError(f"data directory {directory} {state}; name one that holds {_expected_names()}")
    paths = {stem: _find(directory, stem) for stem in MNIST_SHA256}
    streams = {stem: unpack(read_bytes(path), str(path)) for stem, path in paths.items()}
    return dataset_from_streams(streams, name, {stem: str(path) for stem, path in paths.items()})


def dataset_from_streams(streams: Mapping[str, bytes], name: str, origins: Mapping[str, str]) -> Dataset:
    """Make a data set of the four IDX streams.

    Parameters
    ----------
    streams : the unpacked content of each of the four files, by canonical file name.
    name : the name the set gets.
    origins : what messages call each stream.

    Returns
    -------
    Dataset of one channel. Its classes are the digits up to the largest label (at least "0" and "1"). It is
    canonical when every stream has MNIST's SHA-256, and then has MNIST's usual mean and deviation, wherever
    the bytes came from: the same data always trains the same way. Any other set has its own statistics.

    Raises
    ------
    DataError
        For anything `read_idx` or `Dataset` refuses, and for a label above 9.
    """
    images = {stem: read_idx(streams[stem], 3, origins[stem]) for stem in (TRAIN_IMAGES, TEST_IMAGES)}
    labels = {stem: read_idx(streams[stem], 1, origins[stem]) for stem in (TRAIN_LABELS, TEST_LABELS)}
    for images_of, labels_of in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        _check_pair(images[images_of], labels[labels_of], origins[images_of], origins[labels_of])
    largest = max(int(part.max()) for part in labels.values())
    canonical = all(hashlib.sha256(streams[stem]).hexdigest() == sha for stem, sha in MNIST_SHA256.items())
    train_images = images[TRAIN_IMAGES][:, np.newaxis]
    mean, std = (MNIST_MEAN, MNIST_STD) if canonical else channel_statistics(train_images)
    return Dataset(
        name=name,
        train_images=train_images,
        train_labels=labels[TRAIN_LABELS].astype(np.int64),
        test_images=images[TEST_IMAGES][:, np.newaxis],
        test_labels=labels[TEST_LABELS].astype(np.int64),
        classes=tuple(str(digit) for digit in range(max(largest + 1, 2))),
        mean=mean,
        std=std,
        canonical=canonical,
    )


def _check_pair(images: np.ndarray, labels: np.ndarray, images_origin: str, labels_origin: str) -> None:
    # Dataset checks this too, but only here are the files known that a message should name.
    if len(images) != len(labels):
        raise DataError(
            f"{images_origin} holds {len(images)} images but {labels_origin} {len(labels)} labels; "
            "every image has one label: take both files from the same set"
        )
    if images.size == 0:
        raise DataError(f"{images_origin}: images of shape {images.shape}; every size must be at least 1")
    above = np.flatnonzero(labels >= MAX_CLASSES)
    if above.size:
        raise DataError(
            f"{labels_origin}: label {labels[above[0]]} at index {above[0]} is outside 0..{MAX_CLASSES - 1} "
            f"({above.size} such labels): correct the label file"
        )


def _find(directory: Path, stem: str) -> Path:
    for spelling in (stem, stem.replace("-idx", ".idx")):
        for path in (directory / spelling, directory / f"{spelling}.gz"):
            if path.is_file():
                return path
    found = listing(entry.name for entry in directory.iterdir())
    raise DataError(f"{directory} has no {stem}; the four files {_expected_names()} are needed; found there: {found}")


def _expected_names() -> str:
    return ", ".join(MNIST_SHA256) + " (plain or .gz)"
