"""CIFAR-10 in its binary version. The Python version consists of pickles, which can run code, and is never loaded.

A batch file is a sequence of records of 3,073 bytes without a header: the label, then 1,024 bytes each of red, green
and blue, each plane row by row (format: https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset
from npl0.data.fetch import RemoteFile, cache_directory, fetch, folder_error
from npl0.data.packed import find_packed, listing, name_of, read_packed
from npl0.storage.files import replacing, reported

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The constants that the literature uses for CIFAR-10; the exact means are 0.49139968, 0.48215841, 0.44653091.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGE_SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32

# MD5 of the six published files, unpacked; the five of training first.
BATCH_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
FOLDER = "cifar-10-batches-bin"
ARCHIVE = RemoteFile(
    dataset="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=170_052_171,
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)


def load(data_dir: Path | None = None, offline: bool = False, quiet: bool = False) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test images of shape (3, 32, 32) in 10 classes.

    The six files lie in a folder, or in its folder `cifar-10-batches-bin`, or in an archive; without `data_dir`, in the
    cache. The set is canonical if all six unpacked files have the published MD5. A batch may have any positive number
    of records. The mean and deviation are always CIFAR-10's usual ones, so that results on a subset are comparable.

    References
    ----------
    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    if data_dir is not None:
        return _dataset(_read_streams(data_dir), data_dir, name_of(data_dir))
    path = fetch(ARCHIVE, cache_directory(), offline, quiet)
    try:
        return _dataset(_read_streams(path), path)
    except DataError as error:
        raise DataError(f"{error} (delete the cached copy, {path}, to download it again)") from error


def cached_archive() -> Path:
    """Return the path of CIFAR-10 in the cache, whether the file exists or not."""
    return cache_directory() / ARCHIVE.name


def import_cifar10(source: Path) -> Dataset:
    """Check a copy of CIFAR-10, which is what `load` takes as `data_dir`, and put it into the cache as an archive.

    The archive is not compressed, which would save only 8 %, and takes the place of the one in the cache. DataError if
    the copy is unusable (the cache is not changed then), or the cache cannot be written.
    """
    streams = _read_streams(source)
    dataset, target = _dataset(streams, source), cached_archive()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            _write_archive(temporary, streams)
    except OSError as error:
        raise folder_error(error, target.parent, sum(map(len, streams.values()))) from error
    return dataset


def parse_batch(stream: bytes, origin: str) -> tuple[np.ndarray, np.ndarray]:
    """Split the records of a batch file into images, uint8 `(N, 3, 32, 32)`, and labels, uint8 `(N,)`.

    Both are views of `stream`. DataError names `origin` if it is empty or does not consist of whole records.
    """
    count, rest = divmod(len(stream), RECORD)
    if rest or not count:
        raise DataError(
            f"{origin}: {len(stream):,} bytes are {count:,} records of {RECORD:,} bytes and {rest:,} more; there must "
            "be at least one record and nothing more: fetch the file again (CIFAR-100, of longer records, is not read)"
        )
    records = np.frombuffer(stream, np.uint8).reshape(count, RECORD)
    return records[:, 1:].reshape(count, *IMAGE_SHAPE), records[:, 0]


def _dataset(streams: Mapping[str, bytes], source: Path, name: str = "cifar10") -> Dataset:
    canonical = all(hashlib.md5(streams[b], usedforsecurity=False).hexdigest() == md5 for b, md5 in BATCH_MD5.items())
    *train, test = (parse_batch(streams[b], f"{source}: {b}") for b in BATCH_MD5)
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Dataset("cifar10" if canonical else name, images, labels, *test, CLASSES, MEAN, STD, canonical)


def _read_streams(source: Path) -> dict[str, bytes]:
    """Return the unpacked content of the six batch files by name."""
    if not source.exists():
        raise DataError(f"{source} does not exist; name {ARCHIVE.name} or a folder with the files of cifar10")
    folders = (source, source / FOLDER)
    choices = [{name: path for name in BATCH_MD5 if (path := find_packed(folder, name))} for folder in folders]
    batches = max(choices, key=len)
    archive = source if source.is_file() else source / ARCHIVE.name
    if len(batches) < len(BATCH_MD5) and archive.is_file():
        source, (found, streams) = archive, _read_archive(archive)
    else:
        found = [entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()]
        streams = {name: read_packed(path) for name, path in batches.items()}
    if missing := [name for name in BATCH_MD5 if name not in streams]:
        raise DataError(
            f"{source} has no {', '.join(missing)}; needed are data_batch_1.bin to data_batch_5.bin and test_batch.bin "
            f"(plain, .gz or .xz, there or in {FOLDER}) or {ARCHIVE.name}, which is the binary version; found there: "
            f"{listing(found)}"
        )
    return streams


def _read_archive(path: Path) -> tuple[list[str], dict[str, bytes]]:
    """Return the names of all members and the content of the batch files; nothing is unpacked to the disk."""
    found, streams = [], {}
    fault = f"cannot be read as a .tar.gz archive like {ARCHIVE.name}, it is cut, corrupted or something else"
    content = io.BytesIO(read_packed(path, fault))
    with reported(DataError, f"{path}: {fault}", "fetch it again"), tarfile.open(fileobj=content, mode="r:") as tar:
        for member in tar:
            found.append(member.name)
            name = member.name.removeprefix("./").removeprefix(f"{FOLDER}/")
            # A sparse member claims more than is there.
            if name in BATCH_MD5 and member.isfile() and not member.issparse():
                streams[name] = tar.extractfile(member).read()
    return found, streams


def _write_archive(path: Path, streams: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, stream in streams.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(stream)
            tar.addfile(member, io.BytesIO(stream))
