"""Progress on stderr: one bar a stage, and a word about slow starts."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm

from npl0.cli.tables import ratio
from npl0.runs.pipeline import Run
from npl0.settings.sections import RunConfig
from npl0.training.loop import EpochRow, Observer, Progress, StopTraining

# Steps between two looks at the gates: counting them costs about as much as a fifth of a step.
LOOK_EVERY = 50


class ProgressBar(Observer):
    """A bar of steps with loss, expected and realised open gates and compression, and a line after every epoch.

    Off a terminal the bar is a line every ten seconds.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.run: Run | None = None
        self.stop = threading.Event()
        self._bar: tqdm | None = None
        self._stage = ""
        self._gates = ""

    def after_step(self, progress: Progress, loss: float) -> None:
        """Move the bar; leave the loop if an interrupt has come."""
        if self.run is not None and not self.quiet:
            self._show(progress, loss, self.run)
        if self.stop.is_set():
            raise StopTraining

    def _show(self, progress: Progress, loss: float, run: Run) -> None:
        config = run.config
        stage = run.state.stage
        settings = config.train if stage == "train" else config.retrain
        steps = -(-len(run.train_set[0]) // config.train.batch_size)
        done = progress.epoch * steps + progress.batch
        if self._bar is None or stage != self._stage:
            self.close()
            self._stage = stage
            # Without a terminal (a log file) a line every ten seconds is enough.
            interval = 0.2 if sys.stderr.isatty() else 10
            self._bar = tqdm(
                total=settings.epochs * steps,
                initial=done - 1,
                desc=stage,
                unit="step",
                mininterval=interval,
                maxinterval=interval,
                dynamic_ncols=True,
                file=sys.stderr,
                leave=sys.stderr.isatty(),
            )
        if progress.batch % LOOK_EVERY == 1:
            self._gates = _describe_gates(run)
        self._bar.set_postfix_str(
            f"epoch {progress.epoch + 1}/{settings.epochs}, loss {loss:.4f}{self._gates}", refresh=False
        )
        self._bar.update(done - self._bar.n)

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        """Say how the epoch went, and how long the rest of the run will take."""
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
    """Return one line: how an epoch went, and what is left if every one to come takes as long as those of its stage."""
    in_training = row.stage == "train"
    epochs = config.train.epochs if in_training else config.retrain.epochs
    retraining = config.retrain.epochs if in_training and config.method != "dense" else 0
    left = epochs - row.epoch + retraining
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
    masks = run.pruner.masks().values()
    kept, size = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
    text = f", {ratio(size, kept)}"
    return text if expected is None else f", open {expected:,.0f} expected, {kept:,} realised{text}"


@contextmanager
def interruptible(bar: ProgressBar) -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into a stop between two steps; a second one interrupts at once."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if bar.stop.is_set():
            raise KeyboardInterrupt
        bar.stop.set()
        # Not through sys.stderr: the signal may have come in the middle of one of its writes, which is not reentrant.
        os.write(2, b"\ninterrupted: finishing the step and saving a checkpoint (again to quit at once)\n")

    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def notice_if_slow(text: str, after: float, quiet: bool) -> Iterator[None]:
    """Say what is going on if the block takes longer than `after` seconds."""
    timer = threading.Timer(after, lambda: quiet or print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
