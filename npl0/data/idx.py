"""IDX, the file format of MNIST and of sets modelled on it (Fashion-MNIST, KMNIST ...).

All numbers are big-endian. Bytes 0 and 1 are zero, byte 2 is the type of the values (0x08 is uint8), byte 3 the number
of dimensions. A uint32 for each dimension follows, then the values, with the last dimension running fastest. Files of
images begin with 00 00 08 03, files of labels with 00 00 08 01 (format: Yann LeCun's MNIST page).
"""

import gzip
import hashlib
import math
import os
import struct
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset
from npl0.data.packed import listing, name_of, read_bytes, unpack

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

# SHA-256 of the four published MNIST files, unpacked: the hash of a .gz also depends on the compressor.
MNIST_SHA256 = {
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# The constants that the literature uses for MNIST; the exact values are 0.13066048 and 0.30810780.
MNIST_MEAN, MNIST_STD = (0.1307,), (0.3081,)

_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def read_idx(source: str | os.PathLike[str] | bytes, ndim: int, origin: str = "IDX bytes") -> np.ndarray:
    """Read an IDX file of uint8 values.

    Parameters
    ----------
    source : the path of a file, or its content; gzip is recognised by the content, not by the name.
    ndim : the number of dimensions it must have: 3 for images, 1 for labels.
    origin : what messages call a `source` that is content.

    Returns
    -------
    uint8 array of `ndim` dimensions, a read-only view of the unpacked bytes.

    Raises
    ------
    DataError
        If the file cannot be read or unpacked, is not IDX, holds another type or number of dimensions, or is shorter or
        longer than its header says.
    """
    if not isinstance(source, bytes):
        origin, source = str(source), read_bytes(Path(source))
    stream = unpack(source, origin)
    again = "fetch the file again"
    if len(stream) < 4:
        raise DataError(f"{origin}: {len(stream)} bytes, shorter than an IDX header; {again}")
    if stream[:2] != b"\0\0":
        raise DataError(
            f"{origin}: begins with {stream[:4].hex(' ')}, which is not IDX (00 00 08 {ndim:02x} expected); an error "
            f"page saved under the file's name looks like this: look at it, then {again}"
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
    if len(stream) != expected:
        wrong = "truncated" if len(stream) < expected else "too long"
        raise DataError(f"{origin}: {wrong}, {len(stream)} bytes where its header {shape} needs {expected}; {again}")
    return np.frombuffer(stream, np.uint8, offset=header).reshape(shape)


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write a uint8 array, images `(N, H, W)` or labels `(N,)`, as an IDX file; compress it if the name ends in `.gz`.

    DataError if the array has another dtype or no dimension.
    """
    if array.dtype != np.uint8 or not 1 <= array.ndim <= 255:
        raise DataError(
            f"cannot write {array.dtype} {array.shape} as IDX; it must be uint8 of at least 1 dimension: "
            "use array.astype(numpy.uint8) after checking that the values are in 0..255"
        )
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    stream = header + array.tobytes()
    path = Path(path)
    # Without a time stamp, the same array always gives the same file.
    path.write_bytes(gzip.compress(stream, mtime=0) if path.suffix == ".gz" else stream)


def load_idx_directory(directory: str | os.PathLike[str]) -> Dataset:
    """Load the training and test images and labels from the four IDX files of a folder.

    Parameters
    ----------
    directory : holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, each plain or with `.gz`, or spelled with a dot (`train-images.idx3-ubyte`). A plain
        file is preferred to a compressed one.

    Returns
    -------
    Dataset of one channel, whose classes are the numbers up to the largest label. If every unpacked file has MNIST's
    SHA-256, it is canonical, named "mnist", and has MNIST's usual mean and deviation, so that the same data always
    trains the same way. Any other set is named after the folder and has its own mean and deviation.

    Raises
    ------
    DataError
        If the folder or a file is missing, or for anything that `read_idx` or `Dataset` refuses.
    """
    directory = Path(directory)
    needed = ", ".join(MNIST_SHA256) + " (plain or .gz)"
    if not directory.is_dir():
        state = "is not a directory" if directory.exists() else "does not exist"
        raise DataError(f"data directory {directory} {state}; name one that holds {needed}, or an .npz file")
    paths = {stem: _find(directory, stem, needed) for stem in MNIST_SHA256}
    streams = {stem: unpack(read_bytes(path), str(path)) for stem, path in paths.items()}
    canonical = all(hashlib.sha256(streams[stem]).hexdigest() == sha for stem, sha in MNIST_SHA256.items())
    train_images, train_labels, test_images, test_labels = (
        read_idx(stream, 3 if "images" in stem else 1, str(paths[stem])) for stem, stream in streams.items()
    )
    return Dataset(
        "mnist" if canonical else name_of(directory),
        train_images[:, np.newaxis],
        train_labels,
        test_images[:, np.newaxis],
        test_labels,
        mean=MNIST_MEAN if canonical else (),
        std=MNIST_STD if canonical else (),
        canonical=canonical,
    )


def _find(directory: Path, stem: str, needed: str) -> Path:
    for spelling in (stem, stem.replace("-idx", ".idx")):
        for path in (directory / spelling, directory / f"{spelling}.gz"):
            if path.is_file():
                return path
    found = listing(entry.name for entry in directory.iterdir())
    raise DataError(f"{directory} has no {stem}; the four files {needed} are needed; found there: {found}")
