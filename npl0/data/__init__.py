"""Data sets by name: each is a loader in `DATASETS`, and an entry there is all a new one needs."""

from collections.abc import Callable
from pathlib import Path

from npl0.data.dataset import DataError, Dataset, channel_statistics, split_validation

__all__ = ["DATASETS", "DataError", "Dataset", "channel_statistics", "load_dataset", "split_validation"]


def _load_mnist(data_dir: Path | None) -> Dataset:
    if data_dir is None:
        from npl0.data.mnist import load_mnist

        return load_mnist()
    from npl0.data.idx import load_idx_directory

    return load_idx_directory(data_dir, "mnist")


def _load_synthetic(data_dir: Path | None) -> Dataset:
    if data_dir is not None:
        raise DataError(
            f"the synthetic set is made, not read, so the data directory {data_dir} cannot replace it; "
            "leave the directory out, or load the files as mnist"
        )
    from npl0.data.synthetic import load_synthetic

    return load_synthetic()


# A loader gets the directory whose files replace the set's own, or None; it knows which files to look for.
DATASETS: dict[str, Callable[[Path | None], Dataset]] = {"mnist": _load_mnist, "synthetic": _load_synthetic}


def load_dataset(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : one of `DATASETS`.
    data_dir : a directory whose files are read instead of the set's own. For "mnist" these are four IDX
        files, of MNIST or of any set in its format (Fashion-MNIST ...); the name stays "mnist", the
        fingerprint tells.

    Raises
    ------
    DataError
        If the name is unknown, the directory does not exist, or its files are unusable.
    """
    if name not in DATASETS:
        import difflib

        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ";"
        raise DataError(f"unknown data set {name!r}{hint} choose one of {', '.join(sorted(DATASETS))}")
    directory = None if data_dir is None else Path(data_dir)
    if directory is not None and not directory.is_dir():
        state = "is not a directory" if directory.exists() else "does not exist"
        raise DataError(f"data directory {directory} {state}; name one that holds the files of {name}")
    return DATASETS[name](directory)
