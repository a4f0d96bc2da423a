"""Data sets by name: a loader in `DATASETS` and a shape in `IMAGE_SHAPES` are all that a new one needs."""

from collections.abc import Callable
from pathlib import Path

from npl0.data.dataset import DataError, Dataset, channel_statistics, split_validation
from npl0.runtime.settings import suggest

__all__ = ["DATASETS", "IMAGE_SHAPES", "DataError", "Dataset", "channel_statistics", "load_dataset", "split_validation"]


def _load_mnist(data_dir: Path | None, offline: bool, quiet: bool) -> Dataset:
    if data_dir is None:
        from npl0.data.mnist import load_mnist

        return load_mnist()
    from npl0.data.idx import load_idx_directory

    return load_idx_directory(data_dir, "mnist")


def _load_cifar10(data_dir: Path | None, offline: bool, quiet: bool) -> Dataset:
    from npl0.data.cifar10 import load_cifar10

    return load_cifar10(data_dir, offline, quiet)


def _load_synthetic(data_dir: Path | None, offline: bool, quiet: bool) -> Dataset:
    if data_dir is not None:
        raise DataError(
            f"the synthetic set is made, not read, so the data directory {data_dir} cannot replace it; "
            "leave the directory out, or load the files as mnist"
        )
    from npl0.data.synthetic import load_synthetic

    return load_synthetic()


# A loader gets the directory whose files replace the set's own, or None, and whether the network and stderr are to be
# left alone; it knows which files to look for.
DATASETS: dict[str, Callable[[Path | None, bool, bool], Dataset]] = {
    "mnist": _load_mnist,
    "cifar10": _load_cifar10,
    "synthetic": _load_synthetic,
}

# What the images are, (channels, height, width), known before anything is loaded.
IMAGE_SHAPES: dict[str, tuple[int, int, int]] = {
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "synthetic": (1, 28, 28),
}


def load_dataset(name: str, data_dir: str | Path | None = None, offline: bool = False, quiet: bool = False) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : one of `DATASETS`.
    data_dir : a directory whose files are read instead of the set's own. For "mnist" these are four IDX
        files, of MNIST or of any set in its format (Fashion-MNIST ...); the name stays "mnist", the
        fingerprint tells. For "cifar10" these are the six files of its binary version, or its archive, which
        may also be named itself.
    offline : never download. Only "cifar10" is downloaded, to the cache, when it is not there.
    quiet : no progress of a download on stderr.

    Raises
    ------
    DataError
        If the name is unknown, the directory does not exist, its files are unusable, or a download fails.
    """
    if name not in DATASETS:
        raise DataError(f"data set {name!r} is unknown: {suggest(name, DATASETS)}")
    directory = None if data_dir is None else Path(data_dir)
    if directory is not None and not directory.exists():
        raise DataError(f"data directory {directory} does not exist; name one that holds the files of {name}")
    return DATASETS[name](directory, offline, quiet)
