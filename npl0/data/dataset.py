"""What every data set looks like in memory, and the split of a training set into training and validation.

Images stay `uint8`: normalising them is the network's first layer, so the whole of MNIST occupies 55 MB instead of
220 MB.
"""

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from npl0.runtime import rng


class DataError(ValueError):
    """Data that is missing, damaged or unusable; the message says what is wrong, allowed and to be done."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification set of images, checked when it is made and read-only afterwards.

    Parameters
    ----------
    name : the name it was asked for by.
    train_images, test_images : uint8 `(N, C, H, W)`, C-contiguous; 0 is background, 255 full intensity.
    train_labels, test_labels : int64 `(N,)`, each in `[0, len(classes))`.
    classes : the class names, in the order of the labels; at least two.
    mean, std : of every channel of the training images, on `x / 255`; `std` is positive.
    canonical : whether these are, byte for byte, the images and labels its authors published.

    Attributes
    ----------
    fingerprint : hexadecimal SHA-256 over the shapes and the bytes of the four arrays (labels as
        little-endian int64). It is computed here and cannot be passed in, so it never disagrees with the
        arrays.

    Raises
    ------
    DataError
        For a wrong shape, dtype or memory order, unequal counts, an empty set, a label outside the classes,
        image shapes that differ between training and test, or statistics that cannot normalise an image.

    Notes
    -----
    Sets compare by identity; compare fingerprints to learn whether two hold the same data.
    """

    name: str
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    canonical: bool
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"{self.name}: {len(self.classes)} classes; there must be at least 2")
        self._check_part("training", self.train_images, self.train_labels)
        self._check_part("test", self.test_images, self.test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_images.shape[1:]} (C, H, W) but test images "
                f"{self.test_images.shape[1:]}; both must have one shape: take the two from the same set"
            )
        self._check_statistics()
        # A view is locked, not the caller's array: the caller may still own and change the original's flags.
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            view = getattr(self, part).view()
            view.flags.writeable = False
            object.__setattr__(self, part, view)
        object.__setattr__(self, "fingerprint", self._fingerprint())

    def _check_part(self, part: str, images: np.ndarray, labels: np.ndarray) -> None:
        where = f"{self.name}: {part}"
        if images.dtype != np.uint8 or images.ndim != 4 or not images.flags.c_contiguous:
            order = "C-contiguous" if images.flags.c_contiguous else "not C-contiguous"
            raise DataError(
                f"{where} images are {images.dtype} {images.shape}, {order}; they must be uint8 (N, C, H, W) "
                "and C-contiguous: use numpy.ascontiguousarray(images, numpy.uint8)"
            )
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise DataError(
                f"{where} labels are {labels.dtype} {labels.shape}; they must be int64 (N,): "
                "use labels.astype(numpy.int64)"
            )
        if len(images) != len(labels):
            raise DataError(
                f"{where}: {len(images)} images but {len(labels)} labels; every image has one label: "
                "take both files from the same set"
            )
        if images.size == 0:
            raise DataError(f"{where} images have shape {images.shape}; every size must be at least 1")
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if outside.size:
            raise DataError(
                f"{where} label {labels[outside[0]]} at index {outside[0]} is outside "
                f"0..{len(self.classes) - 1} ({outside.size} such labels): correct the label file"
            )

    def _check_statistics(self) -> None:
        channels = self.train_images.shape[1]
        if len(self.mean) != channels or len(self.std) != channels:
            raise DataError(
                f"{self.name}: {len(self.mean)} means and {len(self.std)} standard deviations; there must be "
                f"one for each of the {channels} channels: use channel_statistics(train_images)"
            )
        for mean, std in zip(self.mean, self.std, strict=True):
            if not (0.0 <= mean <= 1.0 and 0.0 < std <= 0.5):
                raise DataError(
                    f"{self.name}: channel mean {mean:g} and standard deviation {std:g} of x/255; allowed "
                    "are [0, 1] and (0, 0.5]; a constant channel cannot be normalised: remove it"
                )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            digest.update(repr(images.shape).encode())
            digest.update(images)
            digest.update(np.ascontiguousarray(labels, dtype="<i8"))
        return digest.hexdigest()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape `(C, H, W)` of one image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of every channel of `images / 255`.

    With h(v) the number of pixels of value v, n = sum_v h(v), s1 = sum_v v h(v) and s2 = sum_v v^2 h(v):

        mean = s1 / (255 n)        std = sqrt(n s2 - s1^2) / (255 n)

    The sums are Python integers, so nothing is rounded before the last division and the result does not
    depend on the order of the images.

    Parameters
    ----------
    images : uint8 `(N, C, H, W)`, not empty.

    Returns
    -------
    mean, std : `C` floats each; `std` is the population's (divided by n, not n - 1).
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        # bincount widens its input to 8 bytes a pixel: in blocks, the copy stays in cache.
        for start in range(0, len(images), 256):
            counts += np.bincount(images[start : start + 256, channel].reshape(-1), minlength=256)
        histogram = counts.tolist()
        n = sum(histogram)
        s1 = sum(value * count for value, count in enumerate(histogram))
        s2 = sum(value * value * count for value, count in enumerate(histogram))
        means.append(s1 / (255 * n))
        stds.append(math.sqrt(n * s2 - s1 * s1) / (255 * n))
    return tuple(means), tuple(stds)


def split_validation(dataset: Dataset, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Set `n` images of the training set aside for validation; the test set is not touched.

    Parameters
    ----------
    dataset : the set whose training part is split.
    n : how many images to set aside, `0 <= n < len(train_images)`.
    seed : the run's seed; one seed always gives the same split.

    Returns
    -------
    train_images, train_labels, validation_images, validation_labels : copies, uint8 `(., C, H, W)` and int64
        `(.,)`, each part in the order of the training set.

    Raises
    ------
    DataError
        If `n` is negative or would leave no image to train on.
    """
    total = len(dataset.train_labels)
    if not 0 <= n < total:
        raise DataError(
            f"cannot set {n} of {dataset.name}'s {total} training images aside for validation; "
            f"choose a number in 0..{total - 1}"
        )
    chosen = np.zeros(total, bool)
    chosen[rng.generator(seed, "validation").permutation(total)[:n]] = True
    images, labels = dataset.train_images, dataset.train_labels
    return images[~chosen], labels[~chosen], images[chosen], labels[chosen]
