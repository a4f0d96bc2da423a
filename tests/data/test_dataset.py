"""What a Dataset refuses, its statistics and fingerprint, and the validation split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from npl0.data import DataError, Dataset, channel_statistics, split_validation


def arguments(n_train: int = 40, n_test: int = 7, **changes: object) -> dict:
    """Return what makes a good two-channel set, with some of it changed."""
    images = np.random.default_rng(3).integers(0, 256, (n_train + n_test, 2, 4, 3), np.uint8)
    good = {
        "name": "made",
        "train_images": images[:n_train],
        "train_labels": np.arange(n_train) % 3,
        "test_images": images[n_train:],
        "test_labels": np.arange(n_test) % 3,
        "classes": ("a", "b", "c"),
        "mean": (0.5, 0.4),
        "std": (0.25, 0.3),
        "canonical": False,
    }
    return good | changes


def test_properties():
    dataset = Dataset(**arguments())
    assert dataset.image_shape == (2, 4, 3) and dataset.n_classes == 3
    assert len(dataset.fingerprint) == 64
    assert repr(dataset) == "<Dataset made: 40 training and 7 test images of shape (2, 4, 3) in 3 classes>"


def test_classes_and_statistics_have_defaults():
    given = {name: value for name, value in arguments().items() if name.startswith(("name", "train", "test"))}
    dataset = Dataset(**given)
    assert dataset.classes == ("0", "1", "2") and not dataset.canonical
    assert (dataset.mean, dataset.std) == channel_statistics(given["train_images"])
    zeros = {"train_labels": np.zeros(40, int), "test_labels": np.zeros(7, int)}
    assert Dataset(**given | zeros).classes == ("0", "1")


def test_other_layouts_in_memory_and_types_of_labels_are_taken():
    good = arguments()
    transposed = np.asfortranarray(good["train_images"])
    others = arguments(train_images=transposed, train_labels=good["train_labels"].astype(np.uint8))
    dataset = Dataset(**others)
    assert dataset.train_images.flags.c_contiguous and dataset.train_labels.dtype == np.int64
    assert dataset.fingerprint == Dataset(**good).fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((40, 2, 4, 3))}, r"train_images are float64 \(40, 2, 4, 3\); they must be uint8"),
        ({"train_images": np.zeros((40, 4, 3), np.uint8)}, r"uint8 \(40, 4, 3\).*be uint8 \(N, C, H, W\)"),
        (
            {"train_labels": np.zeros(40)},
            r"train_labels must be a NumPy array of 40 integers, one per image, not float64 \(40,\)",
        ),
        ({"train_labels": np.zeros((40, 1), np.int64)}, r"labels must be .* not int64 \(40, 1\); one-hot"),
        ({"train_labels": [0] * 40}, "train_labels must be .* not list"),
        ({"test_labels": np.int64(1)}, "test_labels must be .* not int64"),
        ({"test_labels": np.array(["a"] * 7)}, "test_labels must be .* not <U1"),
        ({"test_images": [[0]]}, "test_images are a list; they must be uint8"),
        (
            {"train_labels": np.zeros(39, np.int64)},
            r"train_labels must be .* of 40 integers, one per image, not int64 \(39,\)",
        ),
        ({"test_labels": np.arange(7)}, r"test_labels has 3 at index 3, outside 0..2 \(4 such labels\): correct"),
        (
            {"train_labels": np.arange(40) % 3 + 1},
            r"train_labels has 3 at .*\): they begin at 1: subtract 1 from every",
        ),
        ({"test_labels": np.arange(7) % 3 - 1}, r"test_labels has -1 at index 0, outside 0..2 \(3 such labels\)"),
        ({"test_images": np.zeros((7, 2, 4, 4), np.uint8)}, r"shape \(2, 4, 3\) .* but test_images \(2, 4, 4"),
        (
            {"test_images": np.zeros((0, 2, 4, 3), np.uint8), "test_labels": np.zeros(0, np.int64)},
            r"test_images have the shape \(0, 2, 4, 3\); every size must be at least 1",
        ),
        ({"classes": ("only",)}, "1 class; there must be at least 2"),
        (
            {"mean": (0.5,)},
            r"channels \(2\) have means 0.5 and standard deviations 0.25, 0.3 .*; each needs one",
        ),
        (
            {"std": (0.25, 0.0)},
            r"0.4 and standard deviations 0.25, 0 on .* \[0, 1\] and \(0, 0.5\]; a const",
        ),
        ({"mean": (33.3, 0.4)}, "means 33.3, 0.4 and standard deviations 0.25"),
        ({"std": (float("nan"), 0.3)}, "standard deviations nan, 0.3"),
    ],
)
def test_bad_data_is_refused(changes, message):
    with pytest.raises(DataError, match="^made: .*" + message):
        Dataset(**arguments(**changes))


def test_arrays_are_read_only_but_the_callers_are_not():
    given_arguments = arguments()
    dataset = Dataset(**given_arguments)
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        assert not getattr(dataset, part).flags.writeable and given_arguments[part].flags.writeable
        np.testing.assert_array_equal(getattr(dataset, part), given_arguments[part])


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels"])
def test_fingerprint_notices_one_changed_value(part):
    reference = Dataset(**arguments()).fingerprint
    assert Dataset(**arguments(name="other", mean=(0.1, 0.1))).fingerprint == reference
    changed = arguments()[part].copy()
    changed.flat[-1] = (changed.flat[-1] + 1) % 3
    assert Dataset(**arguments(**{part: changed})).fingerprint != reference


def test_fingerprint_notices_the_shape():
    def reshaped(shape):
        good = arguments()
        images = {part: good[part].reshape(-1, *shape) for part in ("train_images", "test_images")}
        return Dataset(**arguments(**images)).fingerprint

    assert reshaped((2, 3, 4)) != reshaped((2, 4, 3)) == Dataset(**arguments()).fingerprint


# a busy machine is no failure
@given(arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=5)))
def test_statistics_equal_float64(images):
    scaled = images.astype(np.float64) / 255
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-13)
    # Where the deviation is zero, the float64 computation errs by about 1e-16 and ours is exact.
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), rtol=1e-13, atol=1e-15)


def test_statistics_see_every_block():
    images = np.zeros((600, 1, 1, 1), np.uint8)
    images[[0, 255, 256, 511, 512, 599]] = 255
    (mean,), (std,) = channel_statistics(images)
    assert mean == 0.01 and std == pytest.approx(np.sqrt(0.01 * 0.99), rel=1e-15)


def numbered(n: int = 200) -> Dataset:
    """Return a set whose training image i holds the number i, so that an image tells where it came from."""
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    labels = np.arange(n) % 7
    return Dataset("numbered", images, labels, images, labels, tuple("abcdefg"), (0.4,), (0.2,), False)


# a busy machine is no failure
@given(n=st.integers(0, 199), seed=st.integers(0, 2**32))
def test_split_is_disjoint_complete_ordered_and_repeatable(n, seed):
    dataset = numbered()
    parts = split_validation(dataset, n, seed)
    train, validation = parts[0].ravel(), parts[2].ravel()
    assert len(train) == 200 - n and len(validation) == n
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(200))
    assert train.tolist() == sorted(train.tolist()) and validation.tolist() == sorted(validation.tolist())
    np.testing.assert_array_equal(parts[1], train % 7)
    np.testing.assert_array_equal(parts[3], validation % 7)
    assert parts[0].shape == (200 - n, 1, 1, 1) and parts[2].dtype == np.uint8 and parts[3].dtype == np.int64
    for first, second in zip(parts, split_validation(dataset, n, seed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_split_differs_with_the_seed_and_is_spread():
    chosen = [split_validation(numbered(), 100, seed)[2].ravel() for seed in (0, 1)]
    assert not np.array_equal(chosen[0], chosen[1])
    # Half of 200 drawn at random: the first half holds 50 with deviation 3.5.
    assert all(30 < np.count_nonzero(part < 100) < 70 for part in chosen)


@pytest.mark.parametrize("n", [-1, 200, 1000])
def test_split_out_of_range(n):
    with pytest.raises(DataError, match=rf"cannot set {n} of numbered's 200 .* choose a number in 0..199"):
        split_validation(numbered(), n, 0)
