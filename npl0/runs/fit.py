"""`fit`: train, prune or retrain a network from Python."""

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.runs.build import check_batches
from npl0.runs.checkpoint import Checkpoint, TrainingState
from npl0.runs.interrupt import interruptible
from npl0.runs.monitor import CollapseMonitor, warn_of_zeros
from npl0.runs.progress import ProgressBar
from npl0.runtime.threads import Workers, available_threads
from npl0.sparse.layers import sparse_retraining
from npl0.training.loop import EpochRow, Progress, Stage, StopTraining, train_stage
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
        If a layer died, is collapsing, or was hardly pruned; or if the network was pruned, and the pruner (not
        `FixedMask`) would change its zeros.

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
    stage = Stage(getattr(pruner, "stage", "train"), Recipe(**recipe), seed)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed = {seed!r} is out of range: it must be a whole number of at least 0")
    network.check_examples((images, labels))
    labels = labels.astype(np.int64)
    if validation is not None:
        network.check_examples(validation, "validation ")
    for change in ("shift", "flip"):
        if getattr(stage.recipe, change) and images.ndim != 4:
            raise ValueError(
                f"{change} changes images of shape (C, H, W), but the network takes {network.input_shape}; use 0"
            )
    check_batches(network, len(images), stage.recipe.batch_size)
    pruner = Pruner(network) if pruner is None else pruner
    if not isinstance(pruner, Pruner) or not hasattr(pruner, "network"):
        kind = type(pruner).__name__
        raise ValueError(f"{kind} is no pruner: derive it from npl0.Pruner, and call super().__init__(network) in it")
    if pruner.network is not network:
        raise ValueError(f"the pruner was made for another network ({pruner.network.name}); make one for this network")
    optimizer = stage.begin(pruner, len(images))
    warn_of_zeros(pruner, "to keep them 0, train with the pruner npl0.FixedMask(network)")
    file = None
    if checkpoint is not None:
        # What the result depends on besides the data, and besides the arrays of network and pruner.
        layers = [repr(layer) for layer in network.layers]
        plain = {name: value for name, value in vars(pruner).items() if isinstance(value, int | float | str)}
        call = {"stage": asdict(stage), "pruner": [repr(pruner), plain], "layers": [network.shard_size, *layers]}
        file = Checkpoint(Path(checkpoint), call, _fingerprint(images, labels), "delete it or name another file")
    with Workers(available_threads() if threads is None else threads) as workers, interruptible() as stop:
        follower = _Follower((network, pruner, optimizer), file, stop, quiet)
        parts = (stage, network, pruner, optimizer, images, labels, workers)
        try:
            with sparse_retraining(pruner):
                train_stage(*parts, follower.state.progress, follower, validation)
            # Ctrl-C may have come during the last evaluation.
            if stop.is_set():
                raise StopTraining
        except StopTraining:
            follower.save()
            where = f"; the same call resumes from {checkpoint}" if checkpoint else ""
            epoch = min(follower.state.progress.epoch + 1, stage.recipe.epochs)
            print(f"interrupted in epoch {epoch}{where}", file=sys.stderr)
            raise SystemExit(130) from None
        finally:
            follower.close()
            pruner.write_test_weights()
    return follower.state.rows


class _Follower(ProgressBar):
    """Shows the progress, collects the rows, and writes the checkpoint."""

    def __init__(self, parts: tuple, checkpoint: Checkpoint | None, stop: Event, quiet: bool) -> None:
        super().__init__(quiet)
        self.parts, self.checkpoint, self.stop = parts, checkpoint, stop
        network, pruner, _ = parts
        self.state = TrainingState(pruner.stage)
        self.monitor = CollapseMonitor(network, pruner.remedies)
        if pruner.stage == "retrain":
            self.monitor.review(pruner.masks())
        if checkpoint is not None and checkpoint.path.exists():
            with checkpoint.loading() as (self.state, arrays):
                for part, name in zip(parts, ("network", "pruner", "optimizer"), strict=True):
                    part.load_state(arrays[name])

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        super().after_epoch(progress, row)
        self.monitor.watch(self.pruner.masks())
        self.state.rows.append(row)
        self.save()

    def save(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(self.state, *self.parts)


def _fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(repr((images.shape, images.dtype.str)).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels))
    return digest.hexdigest()
