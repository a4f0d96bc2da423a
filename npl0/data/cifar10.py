"""CIFAR-10 in its binary version. The Python version is pickles, which can run code, and is never loaded.

A batch file has no header. It is a sequence of records of 3,073 bytes: the label, then 1,024 bytes each of red, green
and blue, every plane row by row (format: https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset
from npl0.data.fetch import RemoteFile, cache_directory, fetch, folder_error
from npl0.data.packed import listing, read_bytes, unpack, unreadable
from npl0.storage.files import replacing

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The constants the literature normalises CIFAR-10 with; exactly, the means are 0.49139968, 0.48215841, 0.44653091.
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


def load_cifar10(source: Path | None = None, offline: bool = False, quiet: bool = False) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test images of shape (3, 32, 32) in 10 classes.

    Parameters
    ----------
    source : a folder with the six batch files, each plain, `.gz` or `.xz`, there or in `cifar-10-batches-bin`; a folder
        with `cifar-10-binary.tar.gz`; or the path of such an archive. None: the copy in the cache, which is downloaded
        if it is not there.
    offline, quiet : see `npl0.data.fetch.fetch`.

    Returns
    -------
    Dataset named "cifar10". It is canonical when all six unpacked files have the published MD5. Subsets are taken too:
        a batch may have any positive number of records. Mean and deviation are CIFAR-10's usual ones always, so that
        results on a subset or a damaged copy compare with those on the whole.

    Raises
    ------
    DataError
        If a file is missing, cannot be read or unpacked, does not consist of whole records, or has a label above 9; and
        for what `fetch` refuses.

    References
    ----------
    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    if source is not None:
        return _dataset(*_read_streams(source))
    path = fetch(ARCHIVE, cache_directory(), offline, quiet)
    try:
        return _dataset(*_read_streams(path))
    except DataError as error:
        raise DataError(
            f"{error} (this is the cached copy: delete it, and it is downloaded when next needed)"
        ) from error


def cached_archive() -> Path:
    """Return where the cache keeps CIFAR-10, whether it is there or not."""
    return cache_directory() / ARCHIVE.name


def import_cifar10(source: Path) -> Dataset:
    """Check a copy of CIFAR-10 and put it into the cache, in the place of what is there.

    Parameters
    ----------
    source : as for `load_cifar10`. An archive is copied as it is; batch files become an archive, which is stored
        without compression, as that would make it only 8 % smaller.

    Returns
    -------
    The Dataset of the copy.

    Raises
    ------
    DataError
        If the copy is not sound (nothing is changed then), or the cache cannot be written.
    """
    archive = _find_archive(source)
    streams, origins = _read_streams(source)
    dataset = _dataset(streams, origins)
    target = cached_archive()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            if archive is not None:
                shutil.copyfile(archive, temporary)
            else:
                _write_archive(temporary, streams)
    except OSError as error:
        needed = archive.stat().st_size if archive is not None else sum(map(len, streams.values()))
        raise folder_error(error, target.parent, needed) from error
    return dataset


def parse_batch(stream: bytes, origin: str) -> tuple[np.ndarray, np.ndarray]:
    """Split the records of a batch file into images and labels.

    Parameters
    ----------
    stream : the unpacked content of the file.
    origin : what messages call it.

    Returns
    -------
    images : uint8 `(N, 3, 32, 32)`, a read-only view of `stream` with gaps where the labels are.
    labels : int64 `(N,)`.

    Raises
    ------
    DataError
        If the stream is empty, does not consist of whole records, or has a label above 9.
    """
    count, rest = divmod(len(stream), RECORD)
    if rest or not count:
        raise DataError(
            f"{origin}: {len(stream):,} bytes are {count:,} records of {RECORD:,} bytes and {rest:,} more; there must "
            "be at least one record and nothing more: fetch the file again (CIFAR-100, of longer records, is not read)"
        )
    records = np.frombuffer(stream, np.uint8).reshape(count, RECORD)
    labels = records[:, 0].astype(np.int64)
    outside = np.flatnonzero(labels >= len(CLASSES))
    if outside.size:
        raise DataError(
            f"{origin}: label {labels[outside[0]]} of record {outside[0]} is outside 0..{len(CLASSES) - 1} "
            f"({outside.size} such labels): fetch the file again, or correct it"
        )
    return records[:, 1:].reshape(count, *IMAGE_SHAPE), labels


def _dataset(streams: Mapping[str, bytes], origins: Mapping[str, str]) -> Dataset:
    canonical = all(
        hashlib.md5(streams[name], usedforsecurity=False).hexdigest() == md5 for name, md5 in BATCH_MD5.items()
    )
    *train, test = (parse_batch(streams[name], origins[name]) for name in BATCH_MD5)
    return Dataset(
        name="cifar10",
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=np.ascontiguousarray(test[0]),
        test_labels=test[1],
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        canonical=canonical,
    )


def _read_streams(source: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the unpacked content of the six batch files, and what messages call each."""
    if not source.exists():
        raise DataError(f"{source} does not exist; name {ARCHIVE.name} or a folder with the files of cifar10")
    archive = _find_archive(source)
    if archive is not None:
        streams = _read_archive(archive)
        return streams, {name: f"{archive}: {name}" for name in streams}
    paths = _find_batches(source)
    missing = [name for name in BATCH_MD5 if name not in paths]
    if missing:
        folders = [folder for folder in (source, source / FOLDER) if folder.is_dir()]
        found = [str(path.relative_to(source)) for folder in folders for path in folder.iterdir()]
        raise _missing(source, missing, found)
    streams = {name: unpack(read_bytes(path), str(path)) for name, path in paths.items()}
    return streams, {name: str(path) for name, path in paths.items()}


def _find_batches(source: Path) -> dict[str, Path]:
    """Return the batch files of a folder or its subfolder, whichever has more; a plain one before a packed one."""
    choices = []
    for folder in (source, source / FOLDER):
        candidates = {name: [folder / (name + suffix) for suffix in ("", ".gz", ".xz")] for name in BATCH_MD5}
        found = {name: [path for path in paths if path.is_file()] for name, paths in candidates.items()}
        choices.append({name: paths[0] for name, paths in found.items() if paths})
    return max(choices, key=len)


def _find_archive(source: Path) -> Path | None:
    """Return the archive that is meant by a path, or None if batch files are."""
    if source.is_file():
        return source
    archive = source / ARCHIVE.name
    return archive if archive.is_file() and len(_find_batches(source)) < len(BATCH_MD5) else None


def _missing(source: Path, missing: list[str], found: list[str]) -> DataError:
    return DataError(
        f"{source} has no {', '.join(missing)}; needed are data_batch_1.bin to data_batch_5.bin and test_batch.bin "
        f"(plain, .gz or .xz, there or in {FOLDER}) or {ARCHIVE.name}, which is the binary version; found there: "
        f"{listing(found)}"
    )


def _read_archive(path: Path) -> dict[str, bytes]:
    """Return the batch files in an archive; nothing is unpacked to the disk, and all else in it is passed over."""
    wanted = {f"{prefix}{name}": name for name in BATCH_MD5 for prefix in ("", f"{FOLDER}/")}
    streams, found = {}, []
    try:
        # Read from front to back, to the very end: only there gzip can compare its checksum.
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                found.append(member.name)
                name = wanted.get(member.name.removeprefix("./"))
                content = tar.extractfile(member) if name and member.isfile() else None
                if content is not None:
                    streams[name] = content.read()
            while unpacked.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        # Errors of the system have a number; that of a damaged archive, an OSError too, has none.
        if getattr(error, "errno", None):
            raise unreadable(path, error) from error
        raise DataError(
            f"{path}: cannot be read as a .tar.gz archive, it is cut, corrupted or something else ({error}); "
            f"fetch {ARCHIVE.name} again"
        ) from error
    missing = [name for name in BATCH_MD5 if name not in streams]
    if missing:
        raise _missing(path, missing, found)
    return streams


def _write_archive(path: Path, streams: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, stream in streams.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(stream)
            tar.addfile(member, io.BytesIO(stream))
