"""The public interface: what `npl0.NAME` stands for, and `fit`, which trains, prunes and retrains any network.

A network of one's own, trained under L0 gates, pruned and retrained (a test runs this very text):

```python
import npl0

data = npl0.load_dataset("synthetic")
images, labels = data.train_images, data.train_labels
layers = [npl0.Standardise(data.mean, data.std), npl0.Conv2d(1, 8, 5), npl0.MaxPool2d(2), npl0.ReLU(), npl0.Flatten()]
network = npl0.Network([*layers, npl0.Linear(8 * 12 * 12, 10)], input_shape=(1, 28, 28))

pruner = npl0.L0(network, n_train=len(images), l0_lambda=10, gate_learning_rate=0.2)
npl0.fit(network, images, labels, pruner, epochs=15)
masks = pruner.finalise()
npl0.fit(network, images, labels, npl0.FixedMask(network, masks), epochs=2)

accuracy = (network.predict(data.test_images).argmax(axis=1) == data.test_labels).mean()
print(f"{accuracy:.1%} of the test images are right with {npl0.density(masks):.1%} of the weights")
npl0.save_model("pruned.npz", network)
```
"""

import math
import sys

import numpy as np
from tqdm import tqdm

from npl0.storage.archive import CheckpointError
from npl0.settings.sections import ConfigError, RunConfig, TrainConfig
from npl0.data import DataError, Dataset, load_dataset
from npl0.training.metrics import count_correct, measure_layers
from npl0.storage.model_file import load_model, save_model
from npl0.nn import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    ReLU,
    Standardise,
    build_lenet5,
    build_lenet300,
    build_model,
    build_vgg16,
    fold_batchnorm,
)
from npl0.training.optimizers import SGD, Adam, ParameterGroup, build_optimizer
from npl0.runtime.threads import Workers, available_threads
from npl0.nn.parameter import Parameter
from npl0.pruning import L0, FixedMask, Magnitude, Masks, Pruner, apply_masks, density
from npl0.training.loop import DivergedError, EpochRow, Observer, Progress, Stage, check_batches, train_stage

__all__ = [
    "L0",
    "SGD",
    "Adam",
    "AvgPool2d",
    "BatchNorm",
    "CheckpointError",
    "ConfigError",
    "Conv2d",
    "DataError",
    "Dataset",
    "DivergedError",
    "Dropout",
    "EpochRow",
    "FixedMask",
    "Flatten",
    "Layer",
    "Linear",
    "Magnitude",
    "Masks",
    "MaxPool2d",
    "Network",
    "Observer",
    "Parameter",
    "ParameterGroup",
    "Progress",
    "Pruner",
    "ReLU",
    "Stage",
    "Standardise",
    "Workers",
    "apply_masks",
    "build_lenet5",
    "build_lenet300",
    "build_model",
    "build_vgg16",
    "count_correct",
    "density",
    "fit",
    "fold_batchnorm",
    "load_dataset",
    "load_model",
    "measure_layers",
    "save_model",
    "train_stage",
]


def fit(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    pruner: Pruner | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    warmup_epochs: float = 0.0,
    shift: int = 0,
    flip: float = 0.0,
    seed: int = 0,
    threads: int | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    quiet: bool = False,
) -> list[EpochRow]:
    """Train a network in place, under a pruner or without one.

    One call is one whole stage: the optimiser and the ramp of lambda begin anew, and the draws are keyed by the seed,
    so that a second call with the same seed sees the images in the same order. With the same settings and seed it gives
    the same bits as the stages of `python -m npl0.run`, on any number of threads. Afterwards, or after an interrupt,
    the network holds the weights it is to be tested with.

    Parameters
    ----------
    network : what to train.
    images : (N, *network.input_shape), integers or floats. Before a `Standardise` layer, pixel values in 0..255.
    labels : (N,) integers in [0, classes).
    pruner : `L0`, `Magnitude`, `FixedMask` or one of your own, made for this network; None trains every weight.
    epochs, batch_size, optimizer, learning_rate, momentum, weight_decay, schedule, warmup_epochs, shift, flip : as
        `python -m npl0.run --help` tells; the pruner brings settings of its own, such as the gates' learning rate.
    seed : keys the order of the images, their shifts and mirroring, and what dropout draws.
    threads : default: the cores; the result does not depend on it.
    validation : images and labels on which every epoch is evaluated.
    quiet : whether to leave out the progress bar on stderr.

    Returns
    -------
    One row an epoch: loss, accuracies, weights kept.

    Raises
    ------
    ValueError
        If an argument is not sound; nothing was trained then, and the message names what is expected.
    DivergedError
        If the loss or a weight is no longer a number.
    """
    settings = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        shift=shift,
        flip=flip,
    )
    seed = RunConfig(seed=seed).seed
    images, labels = _checked(network, images, labels, "images", "labels")
    if validation is not None:
        validation = _checked(network, *validation, "validation images", "validation labels")
    for change in ("shift", "flip"):
        if getattr(settings, change) and images.ndim != 4:
            raise ValueError(
                f"{change} changes images of shape (C, H, W), but the network takes {network.input_shape}; use 0"
            )
    check_batches(network, len(images), settings.batch_size)
    if pruner is None:
        pruner = Pruner(network)
    elif isinstance(pruner, L0) and pruner.n_train != len(images):
        raise ValueError(f"the pruner divides lambda by n_train = {pruner.n_train}; there are {len(images)} images")
    elif pruner.network is not network:
        raise ValueError(f"the pruner was made for another network ({pruner.network.name}); make one for this network")
    # The stage's name keys the draws: retraining must not repeat the order of the training.
    name = "retrain" if isinstance(pruner, FixedMask) else "train"
    stage = Stage(
        name,
        settings.epochs,
        settings.batch_size,
        settings.schedule,
        seed,
        settings.shift,
        settings.flip,
        settings.warmup_epochs,
    )
    groups = pruner.groups(settings.learning_rate, settings.weight_decay)
    optimiser = build_optimizer(settings.optimizer, groups, settings.momentum)
    steps = settings.epochs * math.ceil(len(images) / settings.batch_size)
    rows: list[EpochRow] = []
    with (
        Workers(available_threads() if threads is None else threads) as workers,
        tqdm(total=steps, desc=name, unit="step", disable=quiet, file=sys.stderr) as bar,
    ):
        try:
            train_stage(
                stage,
                network,
                pruner,
                optimiser,
                images,
                labels,
                workers,
                observer=_Watcher(bar, rows),
                validation=validation,
            )
        finally:
            pruner.write_test_weights()
    return rows


class _Watcher(Observer):
    """Moves the bar and collects the rows."""

    def __init__(self, bar: tqdm, rows: list[EpochRow]) -> None:
        self.bar, self.rows = bar, rows

    def after_step(self, progress: Progress, loss: float) -> None:
        self.bar.set_postfix_str(f"epoch {progress.epoch + 1}, loss {loss:.4f}", refresh=False)
        self.bar.update()

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        self.rows.append(row)


def _checked(
    network: Network, images: np.ndarray, labels: np.ndarray, images_name: str, labels_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels in the types that training takes, or raise ValueError."""
    try:
        network.check_images(images)
    except ValueError as error:
        raise ValueError(f"{images_name}: {error}") from error
    if len(images) == 0:
        raise ValueError(f"{images_name}: there is none; at least one is needed")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        found = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(
            f"{labels_name} must be a NumPy array of {len(images)} integers, one an image, not {found}; one-hot labels "
            "become integers by labels.argmax(axis=1)"
        )
    if len(network.output_shape) != 1:
        raise ValueError(f"the network gives {network.output_shape} an image; it must end in one number a class")
    classes = network.output_shape[0]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{labels_name} must lie in 0..{classes - 1}, found {labels.min()} to {labels.max()}")
    return images, labels.astype(np.int64)
