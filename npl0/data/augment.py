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
