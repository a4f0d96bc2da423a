"""Loading a data set by its name, or your own files in its place.

Any set may be replaced by arrays in one `.npz` file, which is what `numpy.savez` writes and Keras downloads. They are
`train_images`, `train_labels`, `test_images` and `test_labels` (or, as in Keras, `x_train`, `y_train`, `x_test` and
`y_test`), and optionally `classes`, the names of the classes:

- images are uint8 of shape `(N, H, W)`, `(N, C, H, W)`, or `(N, H, W, C)` with one or three channels;
- labels are integers of shape `(N,)` or `(N, 1)`, counted from 0.
"""

import re
from importlib import import_module
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset
from npl0.data.packed import listing, name_of
from npl0.data.registry import DATASETS
from npl0.declare import suggest
from npl0.storage.archive import read_npz
from npl0.storage.files import reported

KERAS_NAMES = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}


def load_dataset(name: str, data_dir: str | Path | None = None, offline: bool = False, quiet: bool = False) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : a key of `DATASETS`.
    data_dir : your own files, read in place of the set's: an `.npz` file of arrays (see `npl0.data.load`), or a folder
        with one; for "mnist" also a folder with four IDX files, of MNIST or of any set in its format (Fashion-MNIST,
        KMNIST ...); for "cifar10" also a folder with the six files of its binary version, or its archive. The set is
        then called by the name of the folder or file, unless it is the published one.
    offline : whether to leave the network alone. Only "cifar10" is ever downloaded, if it is not in the cache.
    quiet : whether to show no progress of a download on stderr.

    Raises
    ------
    DataError
        If the name is unknown, the data is missing or unusable, or a download fails. Pickled objects are refused.
    """
    if name not in DATASETS:
        raise DataError(f"data set {name!r} is unknown: {suggest(name, DATASETS)}")
    source = DATASETS[name]
    load = import_module(source.module).load
    if data_dir is None:
        return load(None, offline, quiet)
    path = Path(data_dir)
    if not source.own_files:
        raise DataError(
            f"the {name} set is made, not read, so {path} cannot replace it; leave the data directory out, or load the "
            "files as mnist"
        )
    if not path.exists():
        raise DataError(f"data directory {path} does not exist; name one that holds {source.own_files}, or an .npz")
    try:
        archive = _find_npz(path, source.pattern)
        return load(path, offline, quiet) if archive is None else _load_npz(archive, name_of(path))
    except DataError as error:
        # A Dataset does not know where its arrays come from.
        if str(path) in str(error):
            raise
        raise DataError(f"{path}: {error}") from error


def _find_npz(path: Path, pattern: str) -> Path | None:
    """Return the `.npz` file that a path is, or that a folder holds if no name in it matches `pattern`."""
    if not path.is_dir():
        return path if path.suffix == ".npz" else None
    names = [entry.name for entry in path.iterdir()]
    archives = [name for name in names if name.endswith(".npz")]
    if not archives or any(re.search(pattern, name) for name in names):
        return None
    if len(archives) > 1:
        raise DataError(f"{path} has {len(archives)} .npz files, {listing(archives)}; name the one to read")
    return path / archives[0]


def _load_npz(path: Path, name: str) -> Dataset:
    """Load a data set from an `.npz` file; it has its own mean and standard deviation."""
    fault = f"{path}: cannot be read as an .npz archive of arrays"
    with reported(DataError, fault, "make it again with numpy.savez"):
        arrays = read_npz(path)
        classes = _class_names(arrays.get("classes"))
    parts = {part: keras if keras in arrays else part for part, keras in KERAS_NAMES.items()}
    missing = [f"{part} (or {keras})" for part, keras in KERAS_NAMES.items() if parts[part] not in arrays]
    extra = arrays.keys() - parts.values() - {"classes"}
    if missing or extra:
        faults = [f"has no {', '.join(missing)}"] * bool(missing) + [f"has the extra {listing(extra)}"] * bool(extra)
        raise DataError(
            f"{path} {' and '.join(faults)}; needed are {', '.join(KERAS_NAMES)}, and optionally classes; found there: "
            f"{listing(arrays)}"
        )
    values = {part: _in_our_layout(arrays[key], "images" in part) for part, key in parts.items()}
    return Dataset(name, **values, classes=classes)


def _in_our_layout(array: np.ndarray, is_images: bool) -> np.ndarray:
    """Return images as `(N, C, H, W)` and labels as `(N,)`, if they have one of the other layouts."""
    if is_images and array.ndim == 3:
        return array[:, np.newaxis]
    if is_images and array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        return np.moveaxis(array, 3, 1)
    return array[:, 0] if not is_images and array.shape[1:] == (1,) else array


def _class_names(array: np.ndarray | None) -> tuple[str, ...]:
    """Return the names of the classes, none if they are not given."""
    if array is None:
        return ()
    if array.dtype.kind not in "US" or array.ndim != 1 or array.size < 2:
        raise DataError(f"classes are {array.dtype} {array.shape}; they must be at least 2 names, an array of strings")
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in array.tolist())
