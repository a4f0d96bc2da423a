"""CIFAR-10's binary version: where its files are found, what is refused, and the facts of the real set."""

import gzip
import hashlib
import io
import lzma
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from npl0.data import DataError, channel_statistics, cifar10, load_dataset
from npl0.data.cifar10 import ARCHIVE, BATCH_MD5, CLASSES, FOLDER, RECORD, import_cifar10, parse_batch
from npl0.data.packed import read_packed

COPY = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "cifar10"
needs_copy = pytest.mark.skipif(not COPY.is_dir(), reason=f"there is no copy of CIFAR-10 in {COPY}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setenv("NPL0_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NPL0_OFFLINE", "1")
    return tmp_path / "cache"


def pack(path: Path, members: dict[str, bytes]) -> None:
    """Write a .tar.gz."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def members_of(folder: Path, prefix: str = f"{FOLDER}/") -> dict[str, bytes]:
    """Return the batch files of a folder as members of an archive."""
    return {f"{prefix}{name}": (folder / name).read_bytes() for name in BATCH_MD5}


# ---- where the files are --------------------------------------------------------------------------------------------


def test_folder_of_plain_files(cifar_folder):
    dataset = load_dataset("cifar10", cifar_folder)
    assert (dataset.name, dataset.canonical, dataset.classes) == ("cifar", False, CLASSES)
    assert dataset.mean == (0.4914, 0.4822, 0.4465) and dataset.std == (0.2470, 0.2435, 0.2616)
    records = np.frombuffer(b"".join(members_of(cifar_folder).values()), np.uint8).reshape(30, RECORD)
    assert records[:, 1:].max() == 255
    images = records[:, 1:].reshape(30, 3, 32, 32)
    np.testing.assert_array_equal(dataset.train_images, images[:25])
    np.testing.assert_array_equal(dataset.test_images, images[25:])
    assert dataset.train_labels.tolist() == records[:25, 0].tolist()
    assert dataset.test_labels.tolist() == records[25:, 0].tolist()


def in_subfolder(folder):
    (folder / FOLDER).mkdir()
    for name in BATCH_MD5:
        (folder / name).rename(folder / FOLDER / name)
    return folder


def compressed(folder):
    for name in BATCH_MD5:
        content = (folder / name).read_bytes()
        packed = {".gz": gzip.compress(content), ".xz": lzma.compress(content)}
        suffix = ".gz" if name.startswith("data") else ".xz"
        (folder / (name + suffix)).write_bytes(packed[suffix])
        (folder / name).unlink()
    return folder


def as_archive(folder):
    # Whatever else an archive holds, even what would be dangerous to unpack, is passed over.
    extras = {"../../evil": b"x", "/etc/evil": b"x", "elsewhere/test_batch.bin": b"x", f"{FOLDER}/readme.html": b"x"}
    pack(folder / ARCHIVE.name, {**extras, **members_of(folder)})
    for name in BATCH_MD5:
        (folder / name).unlink()
    return folder


def as_a_file(folder):
    path = folder / "any name.tgz"
    pack(path, members_of(folder, "./"))
    return path


def preferring_plain_files(folder):
    (folder / "test_batch.bin.gz").write_bytes(b"\x1f\x8b never read")
    (folder / ARCHIVE.name).write_bytes(b"never read")
    return folder


def preferring_the_archive_to_half_a_folder(folder):
    as_archive(folder)
    (folder / "test_batch.bin").write_bytes(b"never read")
    return folder


@pytest.mark.parametrize(
    "arrange",
    [
        in_subfolder,
        compressed,
        as_archive,
        as_a_file,
        preferring_plain_files,
        preferring_the_archive_to_half_a_folder,
    ],
)
def test_other_arrangements_give_the_same_set(arrange, cifar_folder):
    expected = load_dataset("cifar10", cifar_folder).fingerprint
    assert load_dataset("cifar10", arrange(cifar_folder)).fingerprint == expected


def test_canonical_needs_every_md5(cifar_folder, monkeypatch):
    md5 = {name: hashlib.md5((cifar_folder / name).read_bytes()).hexdigest() for name in BATCH_MD5}
    monkeypatch.setattr(cifar10, "BATCH_MD5", md5)
    assert load_dataset("cifar10", cifar_folder).canonical
    assert load_dataset("cifar10", cifar_folder).name == "cifar10"
    monkeypatch.setattr(cifar10, "BATCH_MD5", {**md5, "test_batch.bin": "0" * 32})
    assert not load_dataset("cifar10", cifar_folder).canonical


def test_missing_batches_list_what_is_needed_and_found(cifar_folder):
    (cifar_folder / "data_batch_2.bin").unlink()
    (cifar_folder / "test_batch.bin").rename(cifar_folder / "test.bin")
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10", cifar_folder)
    message = str(caught.value)
    assert message.startswith(f"{cifar_folder} has no data_batch_2.bin, test_batch.bin; needed are data_batch_1.bin to")
    assert f".gz or .xz, there or in {FOLDER}) or {ARCHIVE.name}, which is the binary version" in message
    assert message.endswith(
        "found there: data_batch_1.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, test.bin"
    )


def test_the_python_version_is_not_read(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    pack(path, {"cifar-10-batches-py/data_batch_1": b"a pickle", "cifar-10-batches-py/test_batch": b"a pickle"})
    with pytest.raises(DataError, match=r"binary version; found there: cifar-10-batches-py/data_batch_1, "):
        load_dataset("cifar10", path)


def test_a_link_in_an_archive_is_no_file(cifar_folder):
    path = cifar_folder / "archive.tar.gz"
    members = members_of(cifar_folder)
    del members[f"{FOLDER}/test_batch.bin"]
    pack(path, members)
    with gzip.open(path) as file:
        content = io.BytesIO(file.read())
    with tarfile.open(fileobj=content, mode="a") as tar:
        link = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(cifar_folder / "test_batch.bin")
        tar.addfile(link)
    path.write_bytes(gzip.compress(content.getvalue(), 1))
    with pytest.raises(DataError, match=r"archive.tar.gz has no test_batch.bin; needed"):
        load_dataset("cifar10", path)


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no data_batch_1.bin, .*found there: nothing$"):
        load_dataset("cifar10", tmp_path / "empty")
    for load in (lambda path: load_dataset("cifar10", path), import_cifar10):
        with pytest.raises(DataError, match="nowhere does not exist; name "):
            load(tmp_path / "nowhere")


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_batches_are_refused(suffix, compress, damage, cifar_folder):
    content = bytearray(compress((cifar_folder / "data_batch_4.bin").read_bytes()))
    content[len(content) // 2] ^= 0xFF
    (cifar_folder / "data_batch_4.bin").unlink()
    path = cifar_folder / f"data_batch_4.bin{suffix}"
    path.write_bytes(content if damage == "changed" else content[:-20])
    with pytest.raises(DataError, match=rf"data_batch_4.bin{suffix}: its (gzip|xz) data is cut or corrupted .*fetch"):
        load_dataset("cifar10", cifar_folder)


def damaged_archives(folder: Path) -> dict[str, bytes]:
    path = folder / "sound.tar.gz"
    pack(path, members_of(folder))
    sound = path.read_bytes()
    middle, checksum = bytearray(sound), bytearray(sound)
    middle[len(sound) // 2] ^= 0xFF
    checksum[-6] ^= 0xFF
    return {
        "cut": sound[: len(sound) // 2],
        "cut at the end": sound[:-4],
        "changed": bytes(middle),
        "wrong checksum": bytes(checksum),
        "an error page": b"<html>not found</html>",
        "gzip, but no tar": gzip.compress(b"hello" * 1000),
        "empty": b"",
    }


def test_damaged_archives_are_refused(cifar_folder):
    path = cifar_folder / "archive.tar.gz"
    for what, content in damaged_archives(cifar_folder).items():
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            load_dataset("cifar10", path)
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot be read as a .tar.gz archive") and ARCHIVE.name in message, what


# ---- the cache ------------------------------------------------------------------------------------------------------


def test_without_files_and_network_the_message_says_what_to_do(cache):
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10")
    for words in (str(cache), "data fetch cifar10", f"data import {ARCHIVE.name}", "--data-dir", "NPL0_OFFLINE"):
        assert words in str(caught.value)


@pytest.mark.parametrize("arrange", [lambda folder: folder, compressed, as_archive, as_a_file])
def test_import_puts_a_copy_into_the_cache(arrange, cifar_folder, cache):
    expected = load_dataset("cifar10", cifar_folder).fingerprint
    assert import_cifar10(arrange(cifar_folder)).fingerprint == expected
    shutil.rmtree(cifar_folder)
    dataset = load_dataset("cifar10")
    assert (dataset.name, dataset.fingerprint) == ("cifar10", expected)
    assert [path.name for path in cache.iterdir()] == [ARCHIVE.name]


def test_a_bad_import_changes_nothing(cifar_folder, cache):
    import_cifar10(cifar_folder)
    before = (cache / ARCHIVE.name).read_bytes()
    (cifar_folder / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"test_batch.bin: 5 bytes are 0 records"):
        import_cifar10(cifar_folder)
    assert (cache / ARCHIVE.name).read_bytes() == before


def test_an_import_that_does_not_fit_on_the_disk(cifar_folder, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cifar10, "_write_archive", full)
    with pytest.raises(
        DataError, match=r"cache \(No space left on device; 92,190 more bytes are needed\): .*NPL0_DATA"
    ):
        import_cifar10(cifar_folder)
    assert list(cache.iterdir()) == []


def test_a_damaged_copy_in_the_cache_is_to_be_deleted(cifar_folder, cache):
    import_cifar10(cifar_folder)
    path = cache / ARCHIVE.name
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=rf"{path}: cannot be read .*.*delete the cached copy, {path}, to download"):
        load_dataset("cifar10")


# ---- the real set ---------------------------------------------------------------------------------------------------


@needs_copy
def test_a_real_batch_has_the_known_content():
    images, labels = parse_batch(read_packed(COPY / "test_batch.bin.xz"), "test_batch.bin.xz")
    assert images.shape == (10_000, 3, 32, 32) and np.bincount(labels).tolist() == [1000] * 10
    # A cat, two ships and an aeroplane stand first.
    assert [CLASSES[label] for label in labels[:4]] == ["cat", "ship", "ship", "airplane"]


@needs_copy
@pytest.mark.slow
def test_a_nearly_canonical_copy_loads():
    dataset = load_dataset("cifar10", COPY)
    assert dataset.name == "cifar10" and not dataset.canonical and dataset.train_images.shape == (50_000, 3, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [5000] * 10
    mean, std = channel_statistics(dataset.train_images)
    np.testing.assert_allclose(mean, dataset.mean, atol=1e-4)
    np.testing.assert_allclose(std, dataset.std, atol=1e-4)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_member_that_claims_more_than_there_is(kind, tmp_path):
    info = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
    info.size, info.type = 2**62, kind
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(DataError, match=r"a\.tar\.gz(: cannot be read as| has no data_batch_1\.bin)"):
        load_dataset("cifar10", tmp_path / "a.tar.gz")
