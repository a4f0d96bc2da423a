"""MNIST, shipped inside the package so that the first run needs no download, and other sets as four IDX files.

The packaged files are the published ones as gzip, which unpacks faster than smaller formats (`docs/architecture.md`).
"""

import hashlib
from pathlib import Path

import numpy as np

from npl0.data.dataset import DataError, Dataset
from npl0.data.idx import parse_idx
from npl0.data.packed import find_packed, listing, name_of, read_packed

PACKAGED = Path(__file__).parent / "files"
# SHA-256 of the four published files, unpacked: the hash of a .gz also depends on the compressor.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# The constants that the literature uses for MNIST; the exact values are 0.13066048 and 0.30810780.
MEAN, STD = (0.1307,), (0.3081,)


def load(data_dir: Path | None = None, offline: bool = True, quiet: bool = True) -> Dataset:
    """Load MNIST, 60,000 training and 10,000 test images of shape (1, 28, 28) in 10 classes, or files in its format.

    The four files of a folder are called as in `SHA256`, or spelled with a dot (`train-images.idx3-ubyte`). If every
    unpacked file has its published SHA-256, the set is canonical, named "mnist", and has MNIST's usual mean and
    deviation, so that the same data always trains the same way. Any other set is named after the folder, has its own
    mean and deviation, and its classes are the numbers up to the largest label.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998.
    Copyright and licence (CC BY-SA 3.0) of the data: `files/ATTRIBUTION.md`.
    """
    if data_dir is not None:
        return _load_folder(data_dir)
    try:
        dataset = _load_folder(PACKAGED)
        if not dataset.canonical:
            raise DataError("its SHA-256 is not the published one")
    except DataError as error:
        raise DataError(f"the MNIST packaged with npl0 is damaged ({error}); reinstall npl0") from error
    return dataset


def _load_folder(folder: Path) -> Dataset:
    needed = ", ".join(SHA256) + " (plain, .gz or .xz)"
    if not folder.is_dir():
        raise DataError(f"data directory {folder} is not a directory; name one that holds {needed}, or an .npz file")
    paths = {stem: find_packed(folder, stem) or find_packed(folder, stem.replace("-idx", ".idx")) for stem in SHA256}
    if missing := [stem for stem, path in paths.items() if path is None]:
        found = listing(entry.name for entry in folder.iterdir())
        raise DataError(f"{folder} has no {', '.join(missing)}; needed are {needed}; found there: {found}")
    streams = {stem: read_packed(path) for stem, path in paths.items()}
    canonical = all(hashlib.sha256(streams[stem]).hexdigest() == sha for stem, sha in SHA256.items())
    name, mean, std = ("mnist", MEAN, STD) if canonical else (name_of(folder), (), ())
    arrays = [parse_idx(stream, 3 if "images" in stem else 1, str(paths[stem])) for stem, stream in streams.items()]
    arrays[::2] = [images[:, np.newaxis] for images in arrays[::2]]
    return Dataset(name, *arrays, mean=mean, std=std, canonical=canonical)
