"""Random shifts and mirroring: each one occurs, nothing else does, and the given images are not modified."""

import numpy as np
import pytest

from npl0.runtime import rng
from npl0.training.augment import augment


def test_images_are_shifted_and_then_mirrored():
    images = np.random.default_rng(0).integers(1, 256, (400, 3, 8, 6), np.uint8)
    before = images.copy()
    changed = augment(images, 2, 0.5, rng.generator(3, "augment"))
    assert changed.dtype == np.uint8 and changed.shape == images.shape
    np.testing.assert_array_equal(images, before)
    # The same key gives the same offsets, so every image is the shifted one or its mirror image.
    shifted = augment(images, 2, 0, rng.generator(3, "augment"))
    kept = (changed == shifted).all(axis=(1, 2, 3))
    mirrored = (changed == shifted[..., ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    # Half of 400 with a deviation of 10.
    assert 150 < mirrored.sum() < 250
    np.testing.assert_array_equal(changed, augment(images, 2, 0.5, rng.generator(3, "augment")))


def test_every_crop_of_the_padded_image_occurs():
    images = np.arange(1, 10, dtype=np.uint8).reshape(1, 1, 3, 3).repeat(500, axis=0)
    padded = np.pad(images[0, 0], 1)
    crops = {padded[i : i + 3, j : j + 3].tobytes() for i in range(3) for j in range(3)}
    assert {image.tobytes() for image in augment(images, 1, 0, rng.generator(0, "augment"))} == crops
    crops |= {np.frombuffer(crop, np.uint8).reshape(3, 3)[:, ::-1].tobytes() for crop in crops}
    assert {image.tobytes() for image in augment(images, 1, 0.5, rng.generator(0, "augment"))} == crops


@pytest.mark.parametrize(("flip", "share"), [(0.25, 0.25), (1.0, 1.0)])
def test_images_are_mirrored_as_often_as_asked(flip, share):
    images = np.random.default_rng(0).integers(0, 256, (1000, 1, 4, 4), np.uint8)
    before = images.copy()
    mirrored = (augment(images, 0, flip, rng.generator(0, "augment")) != images).any(axis=(1, 2, 3))
    # A deviation of 0.014.
    assert abs(mirrored.mean() - share) < 0.05
    np.testing.assert_array_equal(images, before)


def test_a_change_that_is_off_draws_nothing_and_copies_nothing():
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4), np.uint8)
    generator = rng.generator(0, "augment")
    assert augment(images, 0, 0, generator) is images
    augment(images, 1, 0, generator)
    # Shifts alone draw two offsets per image and nothing for the mirroring.
    reference = rng.generator(0, "augment")
    reference.integers(0, 3, (2, 50))
    assert generator.random() == reference.random()


def test_shifts_reach_as_far_as_asked_in_every_direction():
    image = np.arange(1, 26, dtype=np.uint8).reshape(1, 1, 5, 5)
    padded = np.pad(image[0, 0], 2)
    crops = {padded[i : i + 5, j : j + 5].tobytes() for i in range(5) for j in range(5)}
    found = {shifted.tobytes() for shifted in augment(image.repeat(900, axis=0), 2, 0, rng.generator(0, "augment"))}
    assert found == crops
