"""Random changes of training images that keep their class."""

import numpy as np


def augment(images: np.ndarray, shift: int, flip: float, generator: np.random.Generator) -> np.ndarray:
    """Shift every image by up to `shift` pixels along each axis, filling with zeros, and mirror some left to right.

    A shift is the same as padding with zeros and cropping at random: shift 4 and flip 0.5 are usual for CIFAR-10.
    Parameters
    ----------
    images : (N, C, H, W), any dtype; not modified, but returned if both changes are off.
    shift : pixels, at least 0; flip : the probability that an image is mirrored.
    generator : draws two offsets per image if `shift` is not 0, then one number per image if `flip` is not 0.
    """
    if shift:
        n, _, height, width = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        down, right = generator.integers(0, 2 * shift + 1, (2, n))
        images = windows[np.arange(n), :, down, right]
    if flip:
        mirrored = generator.random(len(images)) < flip
        images = np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], images[..., ::-1], images)
    return images
