"""The training step that is measured: what the side of npl0 and the side of PyTorch both need to know of it."""

from dataclasses import dataclass

import numpy as np

VARIANTS = ("plain", "gated")
GATE_LEARNING_RATE, MOMENTUM = 3e-2, 0.9


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes
    ----------
    images, shape, mean, std : number of the training images, shape of one, statistics of the channels.
    optimizer : the weights'; gates are always Adam's.
    learning_rate, weight_decay : the weights'.
    log_alpha_init, l0_lambda : of the gated variant.
    steps, warm_up : how many steps a process times, and does before them, if the command does not say.
    """

    images: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    optimizer: str
    learning_rate: float
    weight_decay: float
    log_alpha_init: float
    l0_lambda: float
    steps: int
    warm_up: int


LENET = Recipe(60_000, (1, 28, 28), (0.1307,), (0.3081,), "adam", 1e-3, 0.0, 2.2, 8.0, 60, 10)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
VGG = Recipe(50_000, (3, 32, 32), CIFAR10_MEAN, CIFAR10_STD, "sgd", 1e-2, 5e-4, 2.9, 5.0, 5, 2)
RECIPES = {"lenet5": LENET, "lenet300": LENET, "vgg16": VGG}


@dataclass(frozen=True)
class Setting:
    """Which step it is: a model at a width, plain or gated, on a batch, by so many threads."""

    model: str
    variant: str
    threads: int
    batch: int
    width: float

    @property
    def recipe(self) -> Recipe:
        """How the model is trained."""
        return RECIPES[self.model]

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return uint8 images (N, C, H, W), labels (N,), and the indices of an epoch's batches (steps, batch).

        Black images with squares, because on pixel noise max-pooling would mispredict more branches than on digits.
        """
        images, (channels, side, _) = self.recipe.images, self.recipe.shape
        generator = np.random.default_rng(0)
        squares = generator.integers(0, 256, (images, channels, side // 4 - 2, side // 4 - 2), np.uint8)
        squares[squares < 128] = 0
        x = np.zeros((images, channels, side, side), np.uint8)
        x[:, :, 4:-4, 4:-4] = squares.repeat(4, axis=2).repeat(4, axis=3)
        labels, order = generator.integers(0, 10, images), generator.permutation(images)
        return x, labels, order[: images // self.batch * self.batch].reshape(-1, self.batch)
