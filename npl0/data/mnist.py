"""MNIST, shipped inside the package: no download stands between installing and the first run.

The four files are the published ones, compressed with gzip by `experiments/pack_mnist.py`. How they are
stored was measured, because every run waits for it (one thread of a 2-core machine, CPython 3.11; MB = 10^6
bytes):

    train images                       size       unpacking
    gzip, level 9, memory level 9      9.62 MB    0.19 s
    xz, preset 9e, lc=4, one part      7.81 MB    0.73 s
    xz, preset 9e, lc=4, 4 parts       8.07 MB    0.71 s (0.39 s on two threads)

The test images take 1.60 MB and 0.02 s as gzip, 1.35 MB and 0.10 s as xz; the SHA-256 of the files and the
fingerprint 0.04 s each. With gzip a whole load takes 0.30 s (measured), with xz 0.9 s of processor time (the
sum) and more than 0.4 s on two threads. So the package is 2 MB larger, 11.25 MB, every run starts sooner, and
the files need neither parts nor threads.
"""

from npl0.data.dataset import DataError, Dataset
from npl0.data.idx import MNIST_SHA256, dataset_from_streams
from npl0.data.packed import unpack


def load_mnist() -> Dataset:
    """Load the packaged MNIST: 60,000 training and 10,000 test images of shape (1, 28, 28) in 10 classes.

    The SHA-256 of all four unpacked files is checked on every load, so `canonical` is always True. Mean
    0.1307 and standard deviation 0.3081 are the usual ones.

    Raises
    ------
    DataError
        If a packaged file is missing or damaged.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE
    86(11), 1998. Copyright and licence (CC BY-SA 3.0) of the data: `files/ATTRIBUTION.md`.
    """
    from importlib.resources import files  # here, because a run on other data does not need it

    folder = files("npl0.data") / "files"
    try:
        streams = {stem: unpack((folder / f"{stem}.gz").read_bytes(), f"{stem}.gz") for stem in MNIST_SHA256}
        dataset = dataset_from_streams(streams, "mnist", {stem: f"{stem}.gz" for stem in MNIST_SHA256})
    except (OSError, DataError) as error:
        raise DataError(f"the MNIST packaged with npl0 is damaged ({error}); reinstall npl0") from error
    if not dataset.canonical:
        raise DataError(
            "the MNIST packaged with npl0 is damaged (its SHA-256 is not the published one); reinstall npl0"
        )
    return dataset
