"""CIFAR-10 in its binary version. The Python version consists of pickles, which can run code, and is never loaded.

A batch file is a sequence of records of 3,073 bytes without a header: the label, then 1,024 bytes each of red, green
and blue, each plane row by row (format: https://www.cs.toronto.edu/~kriz/cifar.html).
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
from npl0.data.packed import listing, name_of, read_bytes, unpack, unreadable
from npl0.storage.files import replacing

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

    Parameters
    ----------
    data_dir : a folder with the six batch files, each plain, `.gz` or `.xz`, there or in `cifar-10-batches-bin`; a
        folder with `cifar-10-binary.tar.gz`; or the path of such an archive. Default: the copy in the cache, which is
        downloaded if it is not there.
    offline, quiet : see `npl0.data.fetch.fetch`.

    Returns
    -------
    Dataset, canonical if all six unpacked files have the published MD5. A batch may have any positive number of
        records. The mean and deviation are always CIFAR-10's usual ones, so that results on a subset compare with those
        on the whole set.

    Raises
    ------
    DataError
        If a file is missing, damaged, or has a label above 9; and for what `fetch` refuses.

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
    """Check a copy of CIFAR-10 and put it into the cache, in place of the one that is there.

    `source` is what `load` takes as `data_dir`. An archive is copied; batch files are put into an archive without
    compression, which would save only 8 %. DataError if the copy is unusable (the cache is not changed then), or the
    cache cannot be written.
    """
    archive, streams = _find_archive(source), _read_streams(source)
    dataset = _dataset(streams, source)
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
    if (archive := _find_archive(source)) is not None:
        found, streams = _read_archive(archive)
    else:
        found = [entry.name for folder in (source, source / FOLDER) if folder.is_dir() for entry in folder.iterdir()]
        streams = {name: unpack(read_bytes(path), str(path)) for name, path in _find_batches(source).items()}
    if missing := [name for name in BATCH_MD5 if name not in streams]:
        raise DataError(
            f"{archive or source} has no {', '.join(missing)}; needed are data_batch_1.bin to data_batch_5.bin and "
            f"test_batch.bin (plain, .gz or .xz, there or in {FOLDER}) or {ARCHIVE.name}, which is the binary version; "
            f"found there: {listing(found)}"
        )
    return streams


def _find_batches(source: Path) -> dict[str, Path]:
    """Return the batch files of a folder or its subfolder, whichever has more; a plain one before a packed one."""
    choices = []
    for folder in (source, source / FOLDER):
        candidates = {name: [folder / (name + suffix) for suffix in ("", ".gz", ".xz")] for name in BATCH_MD5}
        found = {name: [path for path in paths if path.is_file()] for name, paths in candidates.items()}
        choices.append({name: paths[0] for name, paths in found.items() if paths})
    return max(choices, key=len)


def _find_archive(source: Path) -> Path | None:
    """Return the archive that a path stands for, or None if it is a folder of batch files."""
    if source.is_file():
        return source
    archive = source / ARCHIVE.name
    return archive if archive.is_file() and len(_find_batches(source)) < len(BATCH_MD5) else None


def _read_archive(path: Path) -> tuple[list[str], dict[str, bytes]]:
    """Return the names of all members and the content of the batch files; nothing is unpacked to the disk."""
    wanted = {f"{prefix}{name}": name for name in BATCH_MD5 for prefix in ("", f"{FOLDER}/")}
    found, streams = [], {}
    try:
        # Read to the very end, because only there gzip can compare its checksum.
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
        # A damaged archive raises an OSError too, but only those of the system have a number.
        if getattr(error, "errno", None):
            raise unreadable(path, error) from error
        raise DataError(
            f"{path}: cannot be read as a .tar.gz archive, it is cut, corrupted or something else ({error}); "
            f"fetch {ARCHIVE.name} again"
        ) from error
    return found, streams


def _write_archive(path: Path, streams: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, stream in streams.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(stream)
            tar.addfile(member, io.BytesIO(stream))
