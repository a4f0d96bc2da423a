"""The data sets by name, with what must be known of them before they are loaded.

A new data set needs a module with a function `load(data_dir, offline, quiet)` that returns a `Dataset`, and an entry in
`DATASETS`. This module does not import NumPy, so that help texts appear at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """What is known of a data set before it is loaded.

    Parameters
    ----------
    module : the name of its module.
    image_shape : (channels, height, width) of its images.
    n_classes : the number of its classes.
    place : where it comes from if it needs no download; empty if it is downloaded.
    own_files : the files of a data directory that replace it, for messages; empty if none can.
    pattern : a regular expression found in the names of these files.
    """

    module: str
    image_shape: tuple[int, int, int]
    n_classes: int = 10
    place: str = ""
    own_files: str = ""
    pattern: str = ""


CIFAR10_FILES = "the six .bin files of CIFAR-10 or their archive"
DATASETS: dict[str, Source] = {
    "mnist": Source("npl0.data.mnist", (1, 28, 28), 10, "inside the package", "four IDX files like MNIST's", "-ubyte"),
    "cifar10": Source("npl0.data.cifar10", (3, 32, 32), 10, "", CIFAR10_FILES, r"_batch.*\.bin|cifar-10-b"),
    "synthetic": Source("npl0.data.synthetic", (1, 28, 28), 10, "made in memory"),
}
