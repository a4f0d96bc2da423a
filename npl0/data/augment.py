"""Random changes of training images that keep their class."""

import numpy as np


def random_shift(images: np.ndarray, pixels: int, generator: np.random.Generator) -> np.ndarray:
    """Move every image by up to `pixels` pixels along each axis, zeros moving in.

    Parameters
    ----------
    images : (N, C, H, W), any dtype; pixels : >= 0; generator : gives the offsets, two for each image.

    Returns
    -------
    moved : of the same shape and dtype; with 0 pixels the images themselves.
    """
    if pixels == 0:
        return images
    n, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = generator.integers(0, 2 * pixels + 1, (2, n))
    return windows[np.arange(n), :, down, right]


def random_crop_flip(images: np.ndarray, padding: int, generator: np.random.Generator) -> np.ndarray:
    """Pad every image with zeros, crop its size out of it at random, and mirror it left to right half of the time.

    This is the usual augmentation of CIFAR-10, with a padding of 4. The crop of a padded image is the image, shifted.

    Parameters
    ----------
    images : (N, C, H, W), any dtype; padding : >= 0; generator : gives the offsets, then a coin for each image.

    Returns
    -------
    changed : a new array of the same shape and dtype.
    """
    moved = random_shift(images, padding, generator)
    flipped = generator.integers(0, 2, len(images), dtype=np.bool_)
    return np.where(flipped[:, np.newaxis, np.newaxis, np.newaxis], moved[..., ::-1], moved)
