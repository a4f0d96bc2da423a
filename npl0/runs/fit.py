"""`fit`: train, prune or retrain a network from Python."""

import hashlib
import math
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from tqdm import tqdm

from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.runs.checkpoint import read_checkpoint, save_checkpoint
from npl0.runs.interrupt import interruptible
from npl0.runs.monitor import CollapseMonitor
from npl0.runtime.threads import Workers, available_threads
from npl0.storage.archive import CheckpointError
from npl0.training.loop import EpochRow, Observer, Progress, Stage, StopTraining, check_batches, train_stage
from npl0.training.recipe import Recipe


def fit(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    pruner: Pruner | None = None,
    *,
    seed: int = 0,
    threads: int | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    checkpoint: str | Path | None = None,
    quiet: bool = False,
    **recipe: Any,
) -> list[EpochRow]:
    """Train a network in place, with or without a pruner.

    One call is one stage: the optimiser and the ramp of lambda begin anew. With the same settings and seed, it gives
    the same bits as the stages of `python -m npl0.run`, on any number of threads. Afterwards, and after an error, the
    network holds the weights it is to be tested with.

    Parameters
    ----------
    network : the network to train.
    images : (N, *network.input_shape), integers or floats; pixel values in 0..255 before a `Standardise` layer.
    labels : (N,) integers in [0, classes).
    pruner : `L0`, `Magnitude`, `FixedMask` or a subclass of `Pruner`, made for this network; None trains all weights.
    seed : keys the order of the images, their augmentation, the noise of gates and of dropout. Two calls with the same
        seed see the images in the same order.
    threads : number of threads, by default one per core; the result does not depend on it.
    validation : images and labels on which the network is evaluated after every epoch.
    checkpoint : a file, written after every epoch and on Ctrl-C. If it exists, the same call resumes from it.
    quiet : whether to leave out the progress bar on stderr.
    **recipe : the fields of `npl0.Recipe`: epochs, batch_size, optimizer, learning_rate, momentum, weight_decay,
        schedule, warmup_epochs, shift, flip.

    Returns
    -------
    rows : one row per epoch, with loss, accuracies and the number of kept weights.

    Warns
    -----
    PruningWarning
        If a layer died, is collapsing, or was hardly pruned.

    Raises
    ------
    ValueError
        If an argument is not valid; nothing was trained then.
    CheckpointError
        If the checkpoint is damaged or belongs to another call.
    DivergedError
        If the loss or a weight is not a number any more.
    SystemExit
        With code 130 after Ctrl-C: the program ends without a traceback, and the checkpoint, if any, is written.
    """
    stage = Stage("train" if pruner is None else pruner.stage, Recipe(**recipe), seed)
    images, labels = _checked(network, images, labels, "images", "labels")
    if validation is not None:
        validation = _checked(network, *validation, "validation images", "validation labels")
    for change in ("shift", "flip"):
        if getattr(stage.recipe, change) and images.ndim != 4:
            raise ValueError(
                f"{change} changes images of shape (C, H, W), but the network takes {network.input_shape}; use 0"
            )
    check_batches(network, len(images), stage.recipe.batch_size)
    pruner = Pruner(network) if pruner is None else pruner
    if pruner.network is not network:
        raise ValueError(f"the pruner was made for another network ({pruner.network.name}); make one for this network")
    optimizer = stage.begin(pruner, len(images))
    with Workers(available_threads() if threads is None else threads) as workers, interruptible() as stop:
        follower = _Follower(stage, network, pruner, optimizer, images, labels, checkpoint, stop, quiet)
        try:
            train_stage(
                stage, network, pruner, optimizer, images, labels, workers, follower.progress, follower, validation
            )
        except StopTraining:
            follower.save()
            where = f"; the same call resumes from {checkpoint}" if checkpoint else ""
            print(f"interrupted in epoch {follower.progress.epoch + 1}{where}", file=sys.stderr)
            raise SystemExit(130) from None
        finally:
            follower.bar.close()
            pruner.write_test_weights()
    return follower.rows


class _Follower(Observer):
    """Moves the progress bar, collects the rows, and writes the checkpoint."""

    def __init__(self, stage, network, pruner, optimizer, images, labels, checkpoint, stop: Event, quiet: bool) -> None:
        self.parts, self.stop = (network, pruner, optimizer), stop
        self.monitor = CollapseMonitor(network, pruner.remedies)
        if pruner.stage == "retrain":
            self.monitor.review(pruner.masks())
        self.rows: list[EpochRow] = []
        self.progress = Progress()
        self.path = None if checkpoint is None else Path(checkpoint)
        if self.path is not None:
            settings = asdict(getattr(pruner, "settings", stage.recipe))
            self.call = {"stage": asdict(stage), "pruner": pruner.name, "settings": settings}
            self.call["data"] = _digest(images, labels)
            if self.path.exists():
                self._restore()
        steps = math.ceil(len(images) / stage.recipe.batch_size)
        done = self.progress.epoch * steps + self.progress.batch
        self.bar = tqdm(
            total=stage.recipe.epochs * steps,
            initial=done,
            desc=stage.name,
            unit="step",
            disable=quiet,
            file=sys.stderr,
        )

    def after_step(self, progress: Progress, loss: float) -> None:
        self.bar.set_postfix_str(f"epoch {progress.epoch + 1}, loss {loss:.4f}", refresh=False)
        self.bar.update()
        if self.stop.is_set():
            raise StopTraining

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        self.monitor.watch(self.parts[1].masks())
        self.rows.append(row)
        self.save()

    def save(self) -> None:
        if self.path is not None:
            header = {"call": self.call, "progress": asdict(self.progress), "rows": [asdict(row) for row in self.rows]}
            save_checkpoint(self.path, header, *self.parts)

    def _restore(self) -> None:
        header, arrays = read_checkpoint(self.path)
        if header.get("call") != self.call:
            raise CheckpointError(
                f"{self.path} was written by a call with other settings or data; delete it or name another"
            )
        try:
            for part, name in zip(self.parts, ("network", "pruner", "optimizer"), strict=True):
                part.load_state(arrays[name])
            self.progress = Progress(**header["progress"])
            self.rows = [EpochRow(**row) for row in header["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.path} does not fit this call ({error}); delete it or name another") from error


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(repr((images.shape, images.dtype.str)).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels))
    return digest.hexdigest()


def _checked(
    network: Network, images: np.ndarray, labels: np.ndarray, images_name: str, labels_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels in the types that training takes; ValueError if they do not fit the network."""
    try:
        network.check_images(images)
    except ValueError as error:
        raise ValueError(f"{images_name}: {error}") from error
    if len(images) == 0:
        raise ValueError(f"{images_name}: there is none; at least one is needed")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        found = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(
            f"{labels_name} must be a NumPy array of {len(images)} integers, one per image, not {found}; one-hot "
            "labels become integers by labels.argmax(axis=1)"
        )
    if len(network.output_shape) != 1:
        raise ValueError(f"the network outputs {network.output_shape} per image; it must end in one number per class")
    classes = network.output_shape[0]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{labels_name} must lie in 0..{classes - 1}, found {labels.min()} to {labels.max()}")
    return images, labels.astype(np.int64)
