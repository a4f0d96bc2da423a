"""A small synthetic set for tests and experiments, made in memory.

Each class is a fixed pattern of blobs. An image is the pattern of its class at a random contrast, moved by up to two
pixels each way, plus noise. A linear classifier gets most of the test images right, but not all.

The bit generator's raw words and integer arithmetic give the same images, bit for bit, on every platform and with every
version of NumPy; its distributions would not (NEP 19).
"""

from pathlib import Path

import numpy as np

from npl0.data.dataset import Dataset
from npl0.runtime import rng

N_TRAIN, N_TEST, N_CLASSES = 2000, 500, 10
SIDE, BORDER, MAX_SHIFT = 28, 4, 2


def load(data_dir: Path | None = None, offline: bool = True, quiet: bool = True, seed: int = 0) -> Dataset:
    """Make a synthetic set: 2,000 training and 500 test images of shape (1, 28, 28) in 10 classes; nothing is read.

    The patterns do not depend on `seed`, >= 0, so sets of different seeds are samples of the same task.
    """
    patterns = _patterns()
    train = _sample(patterns, N_TRAIN, rng.generator(seed, "synthetic", 0))
    test = _sample(patterns, N_TEST, rng.generator(seed, "synthetic", 1))
    return Dataset("synthetic", *train, *test, tuple(f"pattern {number}" for number in range(N_CLASSES)))


def _random_bytes(generator: np.random.Generator, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    words = generator.bit_generator.random_raw(-(-count // 8))
    # The byte order is fixed, so that a big-endian machine draws the same bytes.
    return words.astype("<u8").view(np.uint8)[:count].reshape(shape).astype(np.int32)


def _patterns() -> np.ndarray:
    """Return the patterns of the classes, int32 `(10, 28, 28)` in 0..255, dark at the border as in MNIST."""
    inner = SIDE - 2 * BORDER
    coarse = _random_bytes(rng.generator(0, "synthetic"), N_CLASSES, inner // 4, inner // 4)
    field = coarse.repeat(4, axis=1).repeat(4, axis=2)
    padded = np.pad(field, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    for axis in (1, 2):  # twice the mean of three neighbours rounds the blocks into blobs
        for _ in range(2):
            padded = (np.roll(padded, 1, axis) + padded + np.roll(padded, -1, axis)) // 3
    return np.clip((padded - 100) * 3, 0, 255)


def _sample(patterns: np.ndarray, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return `n` noisy images, uint8 `(n, 1, 28, 28)`, and their labels, int64 `(n,)`."""
    labels = (generator.bit_generator.random_raw(n) % N_CLASSES).astype(np.int64)
    moves = _random_bytes(generator, n, 2) % (2 * MAX_SHIFT + 1) - MAX_SHIFT
    contrast = 96 + _random_bytes(generator, n) * 160 // 256
    # The difference of two bytes has a triangular distribution around zero.
    noise = _random_bytes(generator, n, SIDE, SIDE) - _random_bytes(generator, n, SIDE, SIDE)
    rows = (np.arange(SIDE) - moves[:, :1]) % SIDE
    columns = (np.arange(SIDE) - moves[:, 1:]) % SIDE
    moved = patterns[labels[:, None, None], rows[:, :, None], columns[:, None, :]]
    pixels = np.clip(moved * contrast[:, None, None] // 256 + noise, 0, 255)
    return pixels.astype(np.uint8)[:, np.newaxis], labels
