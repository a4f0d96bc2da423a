"""The training step that `bench_training.py` measures: what npl0's side and PyTorch's side share."""

from dataclasses import dataclass

import numpy as np

VARIANTS = ("plain", "gated")
GATE_LEARNING_RATE, MOMENTUM = 3e-2, 0.9


@dataclass(frozen=True)
class Workload:
    """The data and hyperparameters that a model is measured with.

    Attributes
    ----------
    images : the number of training images.
    shape : the shape of one image, (C, H, W).
    mean, std : per channel, of pixels divided by 255.
    optimizer : for the weights; gates always use Adam.
    learning_rate, weight_decay : of the weights.
    log_alpha_init, l0_lambda : of the gated variant.
    steps, warm_up : the default number of timed steps per process, and of untimed steps before them.
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


LENET = Workload(60_000, (1, 28, 28), (0.1307,), (0.3081,), "adam", 1e-3, 0.0, 2.2, 8.0, 60, 10)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
VGG = Workload(50_000, (3, 32, 32), CIFAR10_MEAN, CIFAR10_STD, "sgd", 1e-2, 5e-4, 2.9, 5.0, 5, 2)
WORKLOADS = {"lenet5": LENET, "lenet300": LENET, "vgg16": VGG}


@dataclass(frozen=True)
class Setting:
    """The step to measure: a model and its width, the variant, the number of threads and the batch size."""

    model: str
    variant: str
    threads: int
    batch: int
    width: float

    @property
    def workload(self) -> Workload:
        """The data and hyperparameters of the model."""
        return WORKLOADS[self.model]

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return uint8 images (N, C, H, W), labels (N,), and the indices of the batches of an epoch (steps, batch).

        The images are random squares on black. On noise, the branches of max-pooling would be harder to predict than
        on digits.
        """
        images, (channels, side, _) = self.workload.images, self.workload.shape
        generator = np.random.default_rng(0)
        squares = generator.integers(0, 256, (images, channels, side // 4 - 2, side // 4 - 2), np.uint8)
        squares[squares < 128] = 0
        x = np.zeros((images, channels, side, side), np.uint8)
        x[:, :, 4:-4, 4:-4] = squares.repeat(4, axis=2).repeat(4, axis=3)
        labels, order = generator.integers(0, 10, images), generator.permutation(images)
        return x, labels, order[: images // self.batch * self.batch].reshape(-1, self.batch)
