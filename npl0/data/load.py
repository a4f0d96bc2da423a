"""Loading a data set by its name, or your own files in its place."""

from importlib import import_module
from pathlib import Path

from npl0.data.dataset import DataError, Dataset
from npl0.data.npz import find_npz, load_npz
from npl0.data.registry import DATASETS
from npl0.runtime.settings import suggest


def load_dataset(name: str, data_dir: str | Path | None = None, offline: bool = False, quiet: bool = False) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : a key of `DATASETS`.
    data_dir : your own files, read in place of the set's. For "mnist" a folder with four IDX files, of MNIST or of any
        set in its format (Fashion-MNIST, KMNIST ...); for "cifar10" a folder with the six files of its binary version,
        or its archive; for both an `.npz` file of arrays, or a folder with one (see `npl0.data.npz`). The set is then
        called by the name of the folder or file, unless it is the published one.
    offline : whether to leave the network alone. Only "cifar10" is ever downloaded, if it is not in the cache.
    quiet : whether to show no progress of a download on stderr.

    Raises
    ------
    DataError
        If the name is unknown, the files are missing or unusable, or a download fails.
    """
    if name not in DATASETS:
        raise DataError(f"data set {name!r} is unknown: {suggest(name, DATASETS)}")
    source, path = DATASETS[name], None if data_dir is None else Path(data_dir)
    if path is not None:
        if not source.own_files:
            raise DataError(
                f"the {name} set is made, not read, so {path} cannot replace it; leave the data directory out, or load "
                "the files as mnist"
            )
        if not path.exists():
            raise DataError(f"data directory {path} does not exist; name one that holds {source.own_files}, or an .npz")
    try:
        if path is not None and (archive := find_npz(path, source.pattern)) is not None:
            return load_npz(archive, path)
        return import_module(source.module).load(path, offline, quiet)
    except DataError as error:
        # A Dataset does not know where its arrays come from.
        if path is None or str(path) in str(error):
            raise
        raise DataError(f"{path}: {error}") from error
