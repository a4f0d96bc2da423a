"""Progress on stderr: one bar per stage, and a line after every epoch."""

import os
import sys
import threading

from tqdm import tqdm

from npl0.pruning.base import Pruner
from npl0.training.loop import EpochRow, Observer, Progress, Stage, StopTraining
from npl0.training.metrics import WeightCount

# Steps between two counts of the open gates: a count costs about a fifth of a step.
COUNT_EVERY = 50


class _Bar(tqdm):
    """A bar of which no process can stop those of another: the lock of tqdm itself is shared by forked processes."""


_Bar.set_lock(threading.RLock())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _Bar.set_lock(threading.RLock()))


class ProgressBar(Observer):
    """A bar of steps with loss, expected and realised open gates and compression, and a line after every epoch.

    Where stderr is not a terminal, there is no bar.

    Parameters
    ----------
    quiet : whether to show nothing.
    retrain_epochs : the epochs that follow the training, for the time that is left.

    Attributes
    ----------
    stop : an event; once it is set, the training stops after the step.
    """

    def __init__(self, quiet: bool = False, retrain_epochs: int = 0) -> None:
        self.quiet, self.retrain_epochs, self.stop = quiet, retrain_epochs, threading.Event()
        self._bar: _Bar | None = None
        self._gates = ""

    def begin(self, stage: Stage, pruner: Pruner, steps_per_epoch: int, progress: Progress) -> None:
        """Open the bar of a stage."""
        self.close()
        self.stage, self.pruner = stage, pruner
        total, done = stage.recipe.epochs * steps_per_epoch, progress.epoch * steps_per_epoch + progress.batch
        # A bar redraws its line, so a log file gets only the lines after the epochs.
        look = {"dynamic_ncols": True, "disable": self.quiet or not sys.stderr.isatty()}
        self._bar = _Bar(desc=stage.name, total=total, initial=done, unit="step", file=sys.stderr, **look)

    def after_step(self, progress: Progress, loss: float) -> None:
        """Move the bar; leave the training if an interrupt has come."""
        if not self.quiet:
            if progress.batch % COUNT_EVERY == 1:
                self._gates = _describe_gates(self.pruner)
            epoch = f"epoch {progress.epoch + 1}/{self.stage.recipe.epochs}"
            self._bar.set_postfix_str(f"{epoch}, loss {loss:.4f}{self._gates}", refresh=False)
            self._bar.update()
        if self.stop.is_set():
            raise StopTraining

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        """Describe the epoch, and how long the rest of the run will take."""
        epochs = self.stage.recipe.epochs
        left = epochs - row.epoch + (self.retrain_epochs if row.stage == "train" else 0)
        if not self.quiet:
            self.write(describe_epoch(row, epochs, left * progress.seconds / progress.epoch))

    def write(self, line: str) -> None:
        """Print a line on stderr, above the bar."""
        _Bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def describe_epoch(row: EpochRow, epochs: int, seconds_left: float) -> str:
    """Return one line on an epoch, of so many in its stage, with the time left to the end of the run."""
    parts = [f"loss {row.loss:.3f}", f"accuracy {100 * row.train_accuracy:.1f} %"]
    if row.validation_accuracy is not None:
        parts.append(f"validation {100 * row.validation_accuracy:.2f} %")
    parts += [f"{row.compression_ratio:.1f}x" if row.kept else "all pruned", f"{row.images_per_second:,.0f} images/s"]
    if seconds_left:
        parts.append(f"{tqdm.format_interval(seconds_left)} to the end of the run")
    return f"{row.stage} epoch {row.epoch}/{epochs}: {', '.join(parts)}"


def _describe_gates(pruner: Pruner) -> str:
    expected, weights = pruner.expected_l0(), WeightCount.of_masks(pruner.masks())
    gates = "" if expected is None else f", open {expected:,.0f} expected, {weights.kept:,} realised"
    return f"{gates}, {weights.ratio_text}"
