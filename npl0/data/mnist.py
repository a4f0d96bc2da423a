"""MNIST, shipped inside the package, so that the first run needs no download.

The four files are the published ones as gzip, which unpacks faster than smaller formats (`docs/architecture.md`).
"""

from pathlib import Path

from npl0.data.dataset import DataError, Dataset
from npl0.data.idx import load_idx_directory

PACKAGED = Path(__file__).parent / "files"


def load(data_dir: Path | None = None, offline: bool = True, quiet: bool = True) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of shape (1, 28, 28) in 10 classes.

    Parameters
    ----------
    data_dir : a folder with four IDX files to load in its place; see `load_idx_directory`.
    offline, quiet : not used, because nothing is downloaded.

    Raises
    ------
    DataError
        If a file is missing or damaged; the SHA-256 of each packaged file is checked.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998.
    Copyright and licence (CC BY-SA 3.0) of the data: `files/ATTRIBUTION.md`.
    """
    if data_dir is not None:
        return load_idx_directory(data_dir)
    try:
        dataset = load_idx_directory(PACKAGED)
        if not dataset.canonical:
            raise DataError("its SHA-256 is not the published one")
    except DataError as error:
        raise DataError(f"the MNIST packaged with npl0 is damaged ({error}); reinstall npl0") from error
    return dataset
