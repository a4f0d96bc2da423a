"""The form that every data set has in memory, and the split of a training set into training and validation.

Images stay `uint8`: the first layer of a network normalises them, so MNIST takes 55 MB instead of 220 MB.
"""

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from npl0.declare import Npl0Error
from npl0.ops.loss import check_labels
from npl0.runtime import rng

MAX_CLASSES = 65_536


class DataError(Npl0Error, ValueError):
    """Data is missing, damaged or unusable; the message says what is wrong and what to do."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A set of labelled images, checked when it is made and read-only afterwards.

    Parameters
    ----------
    name : what results call it.
    train_images, test_images : uint8 `(N, C, H, W)`; 0 is background, 255 full intensity.
    train_labels, test_labels : integers `(N,)` in `[0, number of classes)`; kept as int64.
    classes : the names of the classes in the order of the labels, at least two. Default: the numbers from 0 to the
        largest label; labels that begin at 1 cause a warning, because class 0 is empty then.
    mean, std : of every channel of the training images divided by 255, in [0, 1] and (0, 0.5]. Default: what
        `channel_statistics` returns.
    canonical : whether these are, byte for byte, the images and labels that the authors of the set published.

    Attributes
    ----------
    fingerprint : hexadecimal SHA-256 of the shapes and the bytes of the four arrays (labels as little-endian int64),
        by which to compare two sets; `==` compares identities.

    Raises
    ------
    DataError
        If an array has another shape or dtype or does not fit the others, or a channel cannot be normalised.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    canonical: bool = False
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if fault := next(self._faults(), ""):
            raise DataError(f"{self.name}: {fault}")
        changes: dict[str, Any] = {}
        digest = hashlib.sha256()
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            is_images = part.endswith("images")
            array = np.ascontiguousarray(getattr(self, part), np.uint8 if is_images else np.int64)
            digest.update(repr(array.shape).encode() if is_images else b"")
            digest.update(array if is_images else array.astype("<i8", copy=False))
            # A view is locked: the array itself is the caller's.
            changes[part] = view = array.view()
            view.flags.writeable = False
        if not self.classes:
            labels = np.concatenate([self.train_labels, self.test_labels])
            largest = max(1, int(labels.max()))
            # No error: a set of digits without a 0 is sound.
            if labels.min() == 1:
                fault = f"the labels run from 1 to {largest}, but classes are counted from 0"
                warnings.warn(f"{self.name}: {fault}: subtract 1, or class 0 stays empty", stacklevel=3)
            changes["classes"] = tuple(str(label) for label in range(largest + 1))
        if not self.mean and not self.std:
            changes["mean"], changes["std"] = channel_statistics(self.train_images)
        for name, value in {**changes, "fingerprint": digest.hexdigest()}.items():
            object.__setattr__(self, name, value)
        channels, mean, std = self.train_images.shape[1], self.mean, self.std
        sound = all(0 <= m <= 1 for m in mean) and all(0 < s <= 0.5 for s in std)
        if not sound or not len(mean) == len(std) == channels:
            shown = " and standard deviations ".join(", ".join(f"{x:g}" for x in values) for values in (mean, std))
            raise DataError(
                f"{self.name}: its channels ({channels}) have means {shown} on the scale 0..1; each needs one of both, "
                "in [0, 1] and (0, 0.5]; a constant channel cannot be normalised: remove it"
            )

    def __repr__(self) -> str:
        sizes = f"{len(self.train_labels)} training and {len(self.test_labels)} test images"
        return f"<Dataset {self.name}: {sizes} of shape {self.image_shape} in {self.n_classes} classes>"

    def _faults(self) -> Iterator[str]:
        """Yield what is wrong with the arrays; a check may rely on those before it."""
        if len(self.classes) == 1:
            yield "1 class; there must be at least 2"
        allowed = len(self.classes) or MAX_CLASSES
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if fault := _image_fault(images):
                yield f"{part}_images {fault}"
            try:
                check_labels(labels, len(images), allowed, f"{part}_labels")
            except ValueError as error:
                yield str(error)
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            yield (
                f"train_images have the shape {train} (C, H, W) but test_images {test}; both must have the same: take "
                "them from one set"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled and copied by way of the constructor, which checks the arrays, locks them and takes their fingerprint.
        return type(self), tuple(getattr(self, entry.name) for entry in fields(self) if entry.init)

    def describe(self) -> dict[str, Any]:
        """Return name, sizes, fingerprint, and whether the set is the published one, as files record them."""
        sizes = {"train": len(self.train_images), "test": len(self.test_images)}
        return {"name": self.name, **sizes, "fingerprint": self.fingerprint, "canonical": self.canonical}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape `(C, H, W)` of one image."""
        return self.train_images.shape[1:]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)


def _image_fault(images: np.ndarray) -> str:
    """Return what is wrong with an array of images; the empty string if nothing is."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else f"a {type(images).__name__}"
        remedy = "scale the values to 0..255 and use images.astype(numpy.uint8)"
        return f"are {found}; they must be uint8 (N, C, H, W): {remedy}"
    return f"have the shape {images.shape}; every size must be at least 1" if images.size == 0 else ""


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the population standard deviation of every channel of `images / 255`: `C` floats each.

    `images` are uint8 `(N, C, H, W)`, not empty (else DataError). With h(v) the number of pixels of value v,
    n = sum_v h(v), s1 = sum_v v h(v) and s2 = sum_v v^2 h(v):

        mean = s1 / (255 n)        std = sqrt(n s2 - s1^2) / (255 n)

    The sums are Python integers: only the last division rounds, and the order of the images does not matter.
    """
    if fault := _image_fault(images):
        raise DataError(f"the images {fault}")
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        # bincount widens its input to 8 bytes a pixel; in blocks, the copy stays in cache.
        for start in range(0, len(images), 256):
            counts += np.bincount(images[start : start + 256, channel].reshape(-1), minlength=256)
        histogram = counts.tolist()
        n, s1, s2 = (sum(value**power * count for value, count in enumerate(histogram)) for power in range(3))
        means.append(s1 / (255 * n))
        stds.append(math.sqrt(n * s2 - s1 * s1) / (255 * n))
    return tuple(means), tuple(stds)


def split_validation(dataset: Dataset, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Set `n` images of the training set aside for validation; the test set is not touched.

    The same seed always gives the same split. Returned are the images and labels left for training, then those set
    aside: copies, uint8 `(., C, H, W)` and int64 `(.,)`, in the order of the training set. DataError if `n` is not in
    `0 <= n < len(train_images)`.
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
