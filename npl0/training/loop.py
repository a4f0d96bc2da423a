"""The one training loop, for every stage of every method."""

import math
import time
from dataclasses import dataclass

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Pruner, density
from npl0.runtime import rng
from npl0.runtime.memory import peak_memory_mb
from npl0.runtime.threads import Workers
from npl0.settings.sections import ConfigError
from npl0.training.augment import augment
from npl0.training.metrics import count_correct, first_not_finite
from npl0.training.optimizers import SCHEDULES, Optimizer

STAGES = ("train", "retrain")


class DivergedError(RuntimeError):
    """The loss is no longer a number; the message names the step and the first bad tensor."""


class StopTraining(Exception):
    """Raised by an observer to leave the loop between two steps; the progress then tells where."""


@dataclass(frozen=True)
class Stage:
    """What a stage does.

    Attributes
    ----------
    name, epochs, batch_size : which stage it is, and its length.
    schedule : the course of the learning rate, a name of `npl0.training.optimizers.SCHEDULES`; gates have their own.
    seed : keys the draws.
    shift, flip : see `npl0.training.augment.augment`.
    warmup_epochs : over these the learning rate rises from 0 to what the schedule says.
    """

    name: str
    epochs: int
    batch_size: int
    schedule: str
    seed: int
    shift: int = 0
    flip: float = 0.0
    warmup_epochs: float = 0.0

    @property
    def key(self) -> int:
        """The number that tells this stage's draws from another's."""
        return STAGES.index(self.name)

    def share(self, step: int, steps_per_epoch: int) -> float:
        """Return the share of the stage, in [0, 1), that is done when step `step` begins; the stage's first is 0."""
        return step / (self.epochs * steps_per_epoch)

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor of the weights' learning rate at step `step`."""
        warm = self.warmup_epochs * steps_per_epoch
        warmth = min(1.0, (step + 1) / warm) if warm else 1.0
        return warmth * SCHEDULES[self.schedule](self.share(step, steps_per_epoch))


@dataclass
class Progress:
    """Where a stage stands, between two steps, and the sums of the running epoch."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    penalty_sum: float = 0.0
    correct: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class EpochRow:
    """One line of the log.

    Loss and accuracy are those of the epoch's training steps, gates sampled, weights moving. The factor of the learning
    rate is the weights' at the last step; gates have a schedule of their own. Seconds and images per second are those
    of the steps, without what follows an epoch (validation, checkpoint). The memory is the most the process has had so
    far.
    """

    stage: str
    epoch: int
    loss: float
    penalty: float
    train_accuracy: float
    validation_accuracy: float | None
    expected_l0: float | None
    kept: int
    compression_ratio: float
    learning_rate_factor: float
    images_per_second: float
    seconds: float
    peak_memory_mb: float | None


class Observer:
    """Who looks on: progress bars, logs, checkpoints. The defaults do nothing."""

    def after_step(self, progress: Progress, loss: float) -> None:
        """Be told of every step; may raise StopTraining."""

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        """Be told of every epoch."""


def check_batches(network: Network, n: int, batch_size: int) -> None:
    """Raise ConfigError if a mini-batch of n training examples leaves a batch norm alone with a single one."""
    for layer in network.layers:
        for size in {min(batch_size, n), n % batch_size} - {0}:
            if any(part.stop - part.start < layer.min_examples for part in network.shards(size)):
                raise ConfigError(
                    f"{layer.name} of {network.name} cannot normalise a single image: of {n:,} training images in "
                    f"batches of {batch_size} and shards of {network.shard_size} one is left alone; use another batch "
                    "size, shard size or number of images"
                )


def train_stage(
    stage: Stage,
    network: Network,
    pruner: Pruner,
    optimizer: Optimizer,
    images: np.ndarray,
    labels: np.ndarray,
    workers: Workers,
    progress: Progress | None = None,
    observer: Observer | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Train for the epochs of a stage, from where `progress` stands.

    Parameters
    ----------
    stage, network, pruner, optimizer : what trains what, and how long.
    images : (N, *input_shape), uint8 or float; labels : (N,) integers.
    workers : the threads; the result does not depend on their number.
    progress : updated in place between steps; resumed from it and the other objects' states, a stage gives the same
        bits as without a pause.
    observer : who is told of every step and epoch.
    validation : images and labels on which every epoch is evaluated.

    Raises
    ------
    DivergedError
        If the loss or a weight becomes NaN or infinite.
    StopTraining
        If the observer asked for it.
    """
    progress = progress or Progress()
    observer = observer or Observer()
    steps = math.ceil(len(images) / stage.batch_size)
    clock = time.perf_counter()
    with pruner.sharing(workers):
        while progress.epoch < stage.epochs:
            order = rng.generator(stage.seed, "shuffle", stage.key, progress.epoch).permutation(len(images))
            while progress.batch < steps:
                step = progress.epoch * steps + progress.batch
                picked = order[progress.batch * stage.batch_size :][: stage.batch_size]
                changes = rng.generator(stage.seed, "augment", stage.key, step)
                batch = augment(images[picked], stage.shift, stage.flip, changes)

                pruner.write_weights(step)
                key = (stage.seed, stage.key, step)
                loss, correct = network.loss_and_gradients(batch, labels[picked], workers, key)
                if not math.isfinite(loss):
                    raise _diverged(stage, network, batch, step, progress, loss)
                penalty = pruner.read_gradients()
                optimizer.step(workers, stage.factor(step, steps), stage.share(step, steps))
                pruner.after_step()

                progress.batch += 1
                progress.loss_sum += loss * len(picked)
                progress.penalty_sum += penalty
                progress.correct += correct
                now = time.perf_counter()
                progress.epoch_seconds += now - clock
                clock = now
                observer.after_step(progress, loss)
            factor = stage.factor((progress.epoch + 1) * steps - 1, steps)
            row = _finish_epoch(stage, network, pruner, steps, progress, factor, len(images), validation, workers)
            observer.after_epoch(progress, row)
            # What follows an epoch is no part of the next one's steps.
            clock = time.perf_counter()


def _finish_epoch(stage, network, pruner, batch_count, progress, factor, n, validation, workers) -> EpochRow:
    pruner.write_test_weights()
    for parameter in network.parameters:
        if not np.isfinite(parameter.value).all():
            raise DivergedError(_remedy(stage, f"after epoch {progress.epoch + 1} {parameter.name} is not finite"))
    masks = pruner.masks()
    pruner.checkup.dead_layers(masks)
    pruner.checkup.bottlenecks(masks)
    kept = sum(int(mask.sum()) for mask in masks.values())
    progress.seconds += progress.epoch_seconds
    row = EpochRow(
        stage.name,
        progress.epoch + 1,
        progress.loss_sum / n,
        progress.penalty_sum / batch_count,
        progress.correct / n,
        count_correct(network, *validation, workers) / len(validation[1]) if validation else None,
        pruner.expected_l0(),
        kept,
        1 / density(masks) if kept else math.inf,
        factor,
        n / max(progress.epoch_seconds, 1e-9),
        progress.epoch_seconds,
        peak_memory_mb(),
    )
    progress.epoch, progress.batch = progress.epoch + 1, 0
    progress.loss_sum = progress.penalty_sum = progress.epoch_seconds = 0.0
    progress.correct = 0
    return row


def _diverged(stage, network, batch, step, progress, loss) -> DivergedError:
    place = f"at step {step} (epoch {progress.epoch + 1}) the loss became {loss}"
    return DivergedError(
        _remedy(stage, f"{place}; the first tensor that is not finite is {first_not_finite(network, batch)}")
    )


def _remedy(stage: Stage, what: str) -> str:
    return f"{what}. Lower the learning rate of the {stage.name} stage, or check the data"
