"""Data sets in `.npz` files: the shapes and names that are taken, and what is refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from npl0.data import DataError, load_dataset

PIXELS = np.random.default_rng(5).integers(0, 256, (9, 6, 5), np.uint8)
LABELS = np.array([0, 1, 2, 3, 11, 0, 1, 2, 3])


def arrays(**changes: object) -> dict[str, np.ndarray]:
    """Return the arrays of a good set of six training and three test images, with some of them changed."""
    good = {
        "train_images": PIXELS[:6],
        "train_labels": LABELS[:6],
        "test_images": PIXELS[6:],
        "test_labels": LABELS[6:],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


@pytest.fixture
def save(tmp_path):
    """Write a set, and return its path."""

    def write(name: str = "fashion.npz", **content: np.ndarray) -> Path:
        np.savez(tmp_path / name, **content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_file_of_arrays_replaces_a_set(name, save):
    dataset = load_dataset(name, save(**arrays()))
    assert dataset.name == "fashion" and not dataset.canonical
    assert dataset.image_shape == (1, 6, 5) and dataset.n_classes == 12 and dataset.classes[11] == "11"
    np.testing.assert_array_equal(dataset.train_images[:, 0], PIXELS[:6])
    np.testing.assert_array_equal(dataset.test_images[:, 0], PIXELS[6:])
    assert dataset.train_labels.tolist() == LABELS[:6].tolist() and dataset.test_labels.tolist() == [1, 2, 3]
    scaled = PIXELS[:6] / 255
    np.testing.assert_allclose((*dataset.mean, *dataset.std), (scaled.mean(), scaled.std()), rtol=1e-12)


def test_a_folder_with_one_is_named_after_the_folder(save, tmp_path):
    expected = load_dataset("mnist", save(**arrays())).fingerprint
    folder = tmp_path / "letters"
    folder.mkdir()
    (tmp_path / "fashion.npz").rename(folder / "x.npz")
    (folder / "README.txt").touch()
    dataset = load_dataset("mnist", folder)
    assert (dataset.name, dataset.fingerprint) == ("letters", expected)


def test_several_in_a_folder_are_refused_by_name(save, tmp_path):
    save("a.npz", **arrays())
    save("b.npz", **arrays())
    with pytest.raises(DataError, match=r"has 2 \.npz files, a\.npz, b\.npz; name the one to read"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(("name", "other"), [("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "data_batch_1.bin")])
def test_the_files_of_the_set_are_preferred(name, other, save, tmp_path, write_idx):
    save(**arrays())
    write_idx(tmp_path / other, PIXELS)
    with pytest.raises(DataError, match=r"found there: .*fashion\.npz"):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda images: images[:, np.newaxis], (1, 6, 5)),
        (lambda images: images[..., np.newaxis], (1, 6, 5)),
        (lambda images: np.stack([images, images // 2, images // 3], -1), (3, 6, 5)),
        (lambda images: np.stack([images, images // 2, images // 3], 1), (3, 6, 5)),
        (lambda images: np.stack([images, images], 1), (2, 6, 5)),
    ],
)
def test_layouts_of_images(change, shape, save):
    both = {name: change(images) for name, images in arrays().items() if "images" in name}
    dataset = load_dataset("mnist", save(**arrays(**both)))
    assert dataset.image_shape == shape
    np.testing.assert_array_equal(dataset.train_images[:, 0], PIXELS[:6])
    assert dataset.train_images.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_types_and_shapes_of_labels(dtype, save):
    labels = {"train_labels": LABELS[:6, np.newaxis].astype(dtype), "test_labels": LABELS[6:].astype(dtype)}
    dataset = load_dataset("mnist", save(**arrays(**labels)))
    assert dataset.train_labels.dtype == np.int64 and dataset.train_labels.tolist() == LABELS[:6].tolist()


def test_the_names_of_keras(save):
    names = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}
    dataset = load_dataset("mnist", save(**{names[name]: value for name, value in arrays().items()}))
    assert dataset.fingerprint == load_dataset("mnist", save(**arrays())).fingerprint


@pytest.mark.parametrize("text", [str, str.encode])
def test_names_of_the_classes(text, save):
    names = [f"letter {i}" for i in range(12)]
    dataset = load_dataset("mnist", save(**arrays(classes=np.array([text(name) for name in names]))))
    assert dataset.classes == tuple(names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"test_labels": None},
            r"has no test_labels \(or y_test\); needed are train_.*found there: test_images, ",
        ),
        (
            {"weights": np.ones(3)},
            r"has the extra weights; needed are .* optionally classes; found there: .*weights",
        ),
        ({"test_images": None, "images": PIXELS}, r"has no test_images \(or x_test\) and has the extra images;"),
        ({"x_train": PIXELS[:6]}, "has the extra train_images;"),
        ({"train_images": PIXELS[:6] / 255}, r"train_images are float64 \(6, 1, 6, 5\); they must be uint8 .*scale"),
        ({"train_images": PIXELS[:6].reshape(6, 30)}, r"train_images are uint8 \(6, 30\); they must be uint8 \(N, C"),
        ({"train_labels": LABELS[:6] / 2}, r"train_labels must be .*, one per image, not float64 \(6,\)"),
        (
            {"train_labels": np.eye(12, dtype=int)[LABELS[:6]]},
            r"train_labels must be .* not int64 \(6, 12\); one-hot labels become",
        ),
        (
            {"train_labels": LABELS[:5]},
            r"train_labels must be a NumPy array of 6 integers, one per image, not int64 \(5,\)",
        ),
        ({"test_images": PIXELS[6:, :5]}, r"train_images have the shape \(1, 6, 5\) .* but test_images \(1, 5, 5\)"),
        ({"test_images": PIXELS[:0], "test_labels": LABELS[:0]}, r"test_images have the shape \(0, 1, 6, 5\)"),
        ({"test_labels": LABELS[6:] - 3}, r"test_labels has -2 at index 0, outside 0\.\.65535"),
        ({"test_labels": np.array([1, 2, 2**64 - 1], np.uint64)}, r"test_labels has 18446744073709551615 at index 2"),
        ({"classes": np.array(["a", "b", "c"])}, r"train_labels has 3 at index 3, outside 0\.\.2 \(2 such labels\)"),
        ({"classes": np.arange(12)}, r"classes are int64 \(12,\); they must be at least 2 names, an array of strings"),
        ({"classes": np.array(["a"])}, r"classes are <U1 \(1,\); they must be at least 2 names"),
        ({"train_images": np.full((6, 6, 5), 9, np.uint8)}, "a constant channel cannot be normalised"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes, message, save):
    path = save(**arrays(**changes))
    with pytest.raises(DataError, match=rf"^{path}:? .*{message}"):
        load_dataset("mnist", path)


def test_pickles_are_never_loaded(save):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    path = save(**arrays(classes=np.array([Trap()], object)))
    with pytest.raises(DataError, match=rf"^{path}: cannot be read as an \.npz archive of arrays \(Object arrays"):
        load_dataset("mnist", path)


def test_damage_is_found(save):
    path = save(**arrays())
    sound = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("train_images.npy").header_offset + 300
    changed = bytearray(sound)
    changed[start] ^= 1
    for content in (bytes(changed), sound[:-30], b"", b"<html>not found</html>", b"\x80\x04 a pickle"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"fashion\.npz: cannot be read as an \.npz archive .*make it again"):
            load_dataset("mnist", path)
