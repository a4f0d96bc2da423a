"""Random crops and flips: every one can occur, none is anything else, and the given images stay as they are."""

import numpy as np

from npl0 import rng
from npl0.data.augment import random_crop_flip, random_shift


def test_crop_and_flip_is_a_shift_and_a_mirror():
    images = np.random.default_rng(0).integers(1, 256, (400, 3, 8, 6), np.uint8)
    changed = random_crop_flip(images, 2, rng.generator(3, "augment"))
    assert changed.dtype == np.uint8 and changed.shape == images.shape
    # The same key gives the same offsets, so every image is the shifted one or its mirror image.
    shifted = random_shift(images, 2, rng.generator(3, "augment"))
    kept = (changed == shifted).all(axis=(1, 2, 3))
    mirrored = (changed == shifted[..., ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    # Half of 400 with a deviation of 10.
    assert 150 < mirrored.sum() < 250
    np.testing.assert_array_equal(changed, random_crop_flip(images, 2, rng.generator(3, "augment")))


def test_every_crop_of_the_padded_image_occurs():
    images = np.arange(1, 10, dtype=np.uint8).reshape(1, 1, 3, 3).repeat(500, axis=0)
    padded = np.pad(images[0, 0], 1)
    crops = {padded[i : i + 3, j : j + 3].tobytes() for i in range(3) for j in range(3)}
    crops |= {np.frombuffer(crop, np.uint8).reshape(3, 3)[:, ::-1].tobytes() for crop in crops}
    assert {image.tobytes() for image in random_crop_flip(images, 1, rng.generator(0, "augment"))} == crops


def test_without_padding_the_given_images_are_left_alone():
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4), np.uint8)
    before = images.copy()
    changed = random_crop_flip(images, 0, rng.generator(0, "augment"))
    np.testing.assert_array_equal(images, before)
    assert not np.array_equal(changed, before)
