"""Progress on stderr: one bar per stage, and a line after every epoch."""

import sys
import threading

from tqdm import tqdm

from npl0.runs.pipeline import Run
from npl0.settings.sections import RunConfig
from npl0.training.loop import EpochRow, Observer, Progress, StopTraining
from npl0.training.metrics import WeightCount

# Steps between two counts of the open gates: a count costs about a fifth of a step.
COUNT_EVERY = 50


class ProgressBar(Observer):
    """A bar of steps with loss, expected and realised open gates and compression, and a line after every epoch.

    Where stderr is not a terminal, the bar is a line every ten seconds.

    Attributes
    ----------
    run : the run to follow.
    stop : an event; once it is set, the training stops after the step.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.run: Run | None = None
        self.stop = threading.Event()
        self._bar: tqdm | None = None
        self._stage = ""
        self._gates = ""

    def after_step(self, progress: Progress, loss: float) -> None:
        """Move the bar; leave the training if an interrupt has come."""
        if self.run is not None and not self.quiet:
            self._show(progress, loss, self.run)
        if self.stop.is_set():
            raise StopTraining

    def _show(self, progress: Progress, loss: float, run: Run) -> None:
        name, epochs = run.stage.name, run.stage.recipe.epochs
        steps = run.stage.plan(len(run.train_set[0])).steps_per_epoch
        done = progress.epoch * steps + progress.batch
        if self._bar is None or name != self._stage:
            self.close()
            self._stage = name
            # In a log file, a line every ten seconds is enough.
            interval = 0.2 if sys.stderr.isatty() else 10
            self._bar = tqdm(
                total=epochs * steps,
                initial=done - 1,
                desc=name,
                unit="step",
                mininterval=interval,
                maxinterval=interval,
                dynamic_ncols=True,
                file=sys.stderr,
                leave=sys.stderr.isatty(),
            )
        if progress.batch % COUNT_EVERY == 1:
            self._gates = _describe_gates(run)
        self._bar.set_postfix_str(f"epoch {progress.epoch + 1}/{epochs}, loss {loss:.4f}{self._gates}", refresh=False)
        self._bar.update(done - self._bar.n)

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        """Describe the epoch, and how long the rest of the run will take."""
        if self.run is not None and not self.quiet:
            self.write(describe_epoch(row, self.run.config, progress.seconds / progress.epoch))

    def write(self, line: str) -> None:
        """Print a line on stderr, above the bar."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def describe_epoch(row: EpochRow, config: RunConfig, epoch_seconds: float) -> str:
    """Return one line on an epoch, with the time left if all epochs to come take `epoch_seconds`."""
    in_training = row.stage == "train"
    epochs = config.train.epochs if in_training else config.retrain.epochs
    left = epochs - row.epoch + (config.retrain.epochs if in_training and config.prunes else 0)
    parts = [f"loss {row.loss:.3f}", f"accuracy {100 * row.train_accuracy:.1f} %"]
    if row.validation_accuracy is not None:
        parts.append(f"validation {100 * row.validation_accuracy:.2f} %")
    parts += [f"{row.compression_ratio:.1f}x" if row.kept else "all pruned", f"{row.images_per_second:,.0f} images/s"]
    if left:
        parts.append(f"about {_duration(left * epoch_seconds)} to the end of the run")
    return f"{row.stage} epoch {row.epoch}/{epochs}: {', '.join(parts)}"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        # From one and a half units on, so that there are two digits to read.
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _describe_gates(run: Run) -> str:
    expected = run.pruner.expected_l0()
    weights = WeightCount.of_masks(run.pruner.masks())
    gates = "" if expected is None else f", open {expected:,.0f} expected, {weights.kept:,} realised"
    return f"{gates}, {weights.ratio_text}"
