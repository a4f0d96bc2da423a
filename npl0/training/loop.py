"""The training loop, one for every stage of every method."""

import math
import time
from dataclasses import dataclass

import numpy as np

from npl0.declare import Npl0Error
from npl0.nn.network import Network
from npl0.pruning.base import Plan, Pruner, Step
from npl0.pruning.masks import check_masks
from npl0.runtime import rng
from npl0.runtime.memory import peak_memory_mb
from npl0.runtime.threads import Workers
from npl0.training.augment import augment
from npl0.training.metrics import WeightCount, count_correct, first_not_finite
from npl0.training.optimizers import Optimizer, build_optimizer
from npl0.training.recipe import Recipe

STAGES = ("train", "retrain")


class DivergedError(Npl0Error, RuntimeError):
    """The loss or a weight is not a number any more; the message names the step and the first such tensor."""


class StopTraining(Exception):
    """Raised by an observer to leave the loop between two steps; the progress then says where."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run: `train` or `retrain`, its recipe, and the seed of its random draws."""

    name: str
    recipe: Recipe
    seed: int = 0

    @property
    def key(self) -> int:
        """The number that keeps the random draws of the two stages apart."""
        return STAGES.index(self.name)

    def step(self, number: int, steps_per_epoch: int) -> Step:
        """Return step `number` of the stage."""
        factor = self.recipe.rate_factor(number, steps_per_epoch)
        fraction = number / (self.recipe.epochs * steps_per_epoch)
        return Step(number, fraction, factor, self.recipe.learning_rate * factor)

    def begin(self, pruner: Pruner, n_train: int) -> Optimizer:
        """Prepare the pruner, and return the optimiser of its parameters; ValueError if a hook returns nonsense."""
        pruner.begin(Plan(self.seed, n_train, self.recipe.epochs, math.ceil(n_train / self.recipe.batch_size)))
        groups = pruner.groups(self.recipe.learning_rate, self.recipe.weight_decay)
        if not groups:
            raise ValueError(f"{type(pruner).__name__}.groups must return groups of parameters, not {groups!r}")
        check_masks(pruner.network, pruner.masks())
        return build_optimizer(self.recipe, groups)


@dataclass
class Progress:
    """Where a stage stands between two steps, and the sums over the running epoch."""

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

    Loss and accuracy are means over the training steps of the epoch, with random gates and moving weights. The factor
    of the learning rate is the weights' at the last step. Seconds and images per second count the steps only, without
    the validation and the checkpoint after them. Memory is the largest resident size of the process so far.
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
    live: int | None
    effective_compression: float | None
    learning_rate_factor: float
    images_per_second: float
    seconds: float
    peak_memory_mb: float | None


class Observer:
    """Follows a training: a progress bar, a log, a checkpoint. The defaults do nothing."""

    def begin(self, stage: Stage, pruner: Pruner, steps_per_epoch: int, progress: Progress) -> None:
        """React to the start of a stage, which may be one that is resumed."""

    def after_step(self, progress: Progress, loss: float) -> None:
        """React to a step; may raise StopTraining."""

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        """React to the end of an epoch."""


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
    """Train a network for the epochs of a stage, from where `progress` stands.

    Parameters
    ----------
    stage : the recipe and the seed.
    network, pruner, optimizer : the network, the pruner that was made for it, and what `stage.begin` returned.
    images, labels : (N, *input_shape), uint8 or float, and (N,) integers; ValueError if the network does not take them.
    workers : the threads; the result does not depend on their number.
    progress : updated in place between steps. A stage that is resumed from it, and from the states of network, pruner
        and optimiser, gives the same bits as one without a pause.
    observer : notified after every step and epoch.
    validation : images and labels on which the network is evaluated after every epoch.

    Raises
    ------
    DivergedError
        If the loss or a weight becomes NaN or infinite.
    StopTraining
        If the observer raises it.
    """
    progress, observer = progress or Progress(), observer or Observer()
    network.check_examples((images, labels))
    if validation is not None:
        network.check_examples(validation, "validation ")
    recipe = stage.recipe
    steps = math.ceil(len(images) / recipe.batch_size)
    observer.begin(stage, pruner, steps, progress)
    clock = time.perf_counter()
    with pruner.using(workers):
        while progress.epoch < recipe.epochs:
            order = rng.generator(stage.seed, "shuffle", stage.key, progress.epoch).permutation(len(images))
            while progress.batch < steps:
                step = stage.step(progress.epoch * steps + progress.batch, steps)
                picked = order[progress.batch * recipe.batch_size :][: recipe.batch_size]
                changes = rng.generator(stage.seed, "augment", stage.key, step.number)
                batch = augment(images[picked], recipe.shift, recipe.flip, changes)

                pruner.write_weights(step)
                draws = (stage.seed, stage.key, step.number)
                loss, correct = network.loss_and_gradients(batch, labels[picked], workers, draws)
                if not math.isfinite(loss):
                    what = f"the loss became {loss}; the first tensor that is not finite is"
                    where = f"at step {step.number} (epoch {progress.epoch + 1})"
                    raise _diverged(stage, f"{where} {what} {first_not_finite(network, batch)}")
                penalty = pruner.read_gradients(step)
                if not isinstance(penalty, int | float | np.floating):
                    raise ValueError(f"{type(pruner).__name__}.read_gradients must return a number, not {penalty!r}")
                optimizer.step(workers, step)
                pruner.after_step(step)

                progress.batch += 1
                progress.loss_sum += loss * len(picked)
                progress.penalty_sum += penalty
                progress.correct += correct
                began, clock = clock, time.perf_counter()
                progress.epoch_seconds += clock - began
                observer.after_step(progress, loss)
            row = _finish_epoch(stage, network, pruner, progress, steps, len(images), validation, workers)
            observer.after_epoch(progress, row)
            # Evaluation and checkpoint do not count as time of the next epoch.
            clock = time.perf_counter()


def _finish_epoch(stage, network, pruner, progress, steps, n_train, validation, workers) -> EpochRow:
    pruner.write_test_weights()
    for parameter in network.parameters:
        if not np.isfinite(parameter.value).all():
            raise _diverged(stage, f"after epoch {progress.epoch + 1} {parameter.name} is not finite")
    weights = WeightCount.of_masks(pruner.masks())
    progress.seconds += progress.epoch_seconds
    row = EpochRow(
        stage.name,
        progress.epoch + 1,
        progress.loss_sum / n_train,
        progress.penalty_sum / steps,
        progress.correct / n_train,
        count_correct(network, *validation, workers) / len(validation[1]) if validation else None,
        pruner.expected_l0(),
        weights.kept,
        weights.compression_ratio,
        weights.live,
        weights.effective_compression,
        stage.step((progress.epoch + 1) * steps - 1, steps).rate_factor,
        n_train / max(progress.epoch_seconds, 1e-9),
        progress.epoch_seconds,
        peak_memory_mb(),
    )
    progress.epoch, progress.batch, progress.correct = progress.epoch + 1, 0, 0
    progress.loss_sum = progress.penalty_sum = progress.epoch_seconds = 0.0
    return row


def _diverged(stage: Stage, what: str) -> DivergedError:
    return DivergedError(f"{what}. Lower the learning rate of the {stage.name} stage, or check the data")
