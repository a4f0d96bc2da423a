"""The synthetic set is the same everywhere, and neither trivial nor impossible to learn."""

import numpy as np

from npl0.data import Dataset
from npl0.data.synthetic import load


def linear_accuracy(train: Dataset, test: Dataset) -> float:
    """Return the test accuracy of ridge regression onto one-hot labels, the plainest linear classifier."""

    def features(images: np.ndarray) -> np.ndarray:
        pixels = (images.reshape(len(images), -1) / 255.0 - train.mean[0]) / train.std[0]
        return np.hstack([pixels, np.ones((len(images), 1))])

    x = features(train.train_images)
    weights = np.linalg.solve(x.T @ x + 1000.0 * np.eye(x.shape[1]), x.T @ np.eye(10)[train.train_labels])
    return float(np.mean((features(test.test_images) @ weights).argmax(axis=1) == test.test_labels))


def test_shape_and_content():
    dataset = load()
    assert dataset.train_images.shape == (2000, 1, 28, 28) and dataset.test_images.shape == (500, 1, 28, 28)
    assert dataset.n_classes == 10 and not dataset.canonical
    assert np.bincount(dataset.train_labels, minlength=10).min() > 150
    assert dataset.train_images.min() == 0 and dataset.train_images.max() == 255


def test_same_bits_on_every_platform():
    expected = "5a8f6d91fc17e3dd16d1bdca270b8534c50196487e6f4fb6007f86ea1ba64dcb"
    assert load().fingerprint == expected


def test_seeds_give_other_samples_of_the_same_task():
    first, second = load(), load(seed=1)
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(first.train_images[:500], first.test_images)
    assert 0.8 < linear_accuracy(first, second) < 0.97


def test_a_linear_classifier_learns_most_of_it():
    dataset = load()
    assert 0.8 < linear_accuracy(dataset, dataset) < 0.97
