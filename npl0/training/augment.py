"""Random changes of training images that keep their class."""

import numpy as np


def augment(images: np.ndarray, shift: int, flip: float, generator: np.random.Generator) -> np.ndarray:
    """Move every image by up to `shift` pixels along each axis, zeros moving in, and mirror some left to right.

    To pad an image with zeros and crop its size out of it at random is to shift it, so 4 pixels and 0.5 are the usual
    augmentation of CIFAR-10.

    Parameters
    ----------
    images : (N, C, H, W), any dtype; left as they are.
    shift : pixels, >= 0.
    flip : the probability that an image is mirrored.
    generator : gives two offsets for each image, then a number for each to be mirrored by; nothing is drawn for a
        change that is off.

    Returns
    -------
    changed : of the same shape and dtype; the images themselves if both changes are off.
    """
    if shift:
        images = _shifted(images, shift, generator)
    if flip:
        mirrored = generator.random(len(images)) < flip
        images = np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], images[..., ::-1], images)
    return images


def _shifted(images: np.ndarray, pixels: int, generator: np.random.Generator) -> np.ndarray:
    n, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = generator.integers(0, 2 * pixels + 1, (2, n))
    return windows[np.arange(n), :, down, right]
