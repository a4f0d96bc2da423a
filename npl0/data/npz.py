"""Data sets as arrays in one `.npz` file, which is what `numpy.savez` writes and Keras downloads.

The arrays are `train_images`, `train_labels`, `test_images` and `test_labels` (or, as in Keras, `x_train`, `y_train`,
`x_test` and `y_test`), and optionally `classes`, the names of the classes:

- images are uint8 of shape `(N, H, W)`, `(N, C, H, W)`, or `(N, H, W, C)` with one or three channels;
- labels are integers of shape `(N,)` or `(N, 1)`, counted from 0.
"""

import re
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset
from npl0.data.packed import listing, name_of
from npl0.storage.archive import DAMAGE, read_npz

KERAS_NAMES = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}


def find_npz(data_dir: Path, pattern: str) -> Path | None:
    """Return the `.npz` file that `data_dir` is, or that it holds if it has no other data.

    `pattern` is a regular expression for the names of other data. DataError if there are several `.npz` files.
    """
    if not data_dir.is_dir():
        return data_dir if data_dir.suffix == ".npz" else None
    names = [entry.name for entry in data_dir.iterdir()]
    archives = [name for name in names if name.endswith(".npz")]
    if not archives or any(re.search(pattern, name) for name in names):
        return None
    if len(archives) > 1:
        raise DataError(f"{data_dir} has {len(archives)} .npz files, {listing(archives)}; name the one to read")
    return data_dir / archives[0]


def load_npz(path: Path, data_dir: Path) -> Dataset:
    """Load a data set from an `.npz` file; the module's docstring says which arrays it needs.

    The set has its own mean and standard deviation, and is named after `data_dir`, the file itself or its folder.

    Raises
    ------
    DataError
        If the file is damaged, an array is missing, not known, or does not fit the others. Pickled objects are refused.
    """
    try:
        arrays = read_npz(path)
    except DAMAGE as error:
        raise DataError(
            f"{path}: cannot be read as an .npz archive of arrays ({error}); make it again with numpy.savez"
        ) from error
    parts = {name: keras if keras in arrays else name for name, keras in KERAS_NAMES.items()}
    missing = [f"{name} (or {keras})" for name, keras in KERAS_NAMES.items() if parts[name] not in arrays]
    extra = arrays.keys() - parts.values() - {"classes"}
    if missing or extra:
        faults = [f"has no {', '.join(missing)}"] * bool(missing) + [f"has the extra {listing(extra)}"] * bool(extra)
        raise DataError(
            f"{path} {' and '.join(faults)}; needed are {', '.join(KERAS_NAMES)}, and optionally classes; found there: "
            f"{listing(arrays)}"
        )
    values = {name: _in_our_layout(arrays[key], "images" in name) for name, key in parts.items()}
    return Dataset(name_of(data_dir), **values, classes=_class_names(arrays.get("classes")))


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
