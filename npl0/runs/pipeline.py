"""The flow of a run: train -> prune -> retrain -> measure -> record, resumable between any two steps."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from npl0.data.dataset import Dataset, split_validation
from npl0.declare import ConfigError
from npl0.pruning.base import Pruner
from npl0.pruning.fixed_mask import FixedMask
from npl0.pruning.masks import Masks, masks_of
from npl0.runs.build import build_network, build_pruner, check_batches
from npl0.runs.checkpoint import Checkpoint, TrainingState
from npl0.runs.environment import describe_environment
from npl0.runs.explain import explain
from npl0.runs.folder import RunFolder
from npl0.runs.monitor import CollapseMonitor, warn_of_zeros
from npl0.runs.result import LayerMeasure, make_result
from npl0.runs.snapshots import Snapshots
from npl0.runs.start import digest_start, load_start
from npl0.runtime.threads import Workers
from npl0.settings.sections import RunConfig
from npl0.sparse.layers import sparse_retraining
from npl0.storage.archive import CheckpointError
from npl0.training.loop import EpochRow, Observer, Progress, Stage, StopTraining, train_stage
from npl0.training.metrics import WeightCount


class Run:
    """One run of the flow. Making it checks that everything fits; nothing is written before `execute`.

    Parameters
    ----------
    config : the settings.
    dataset : the data.
    folder : where everything is recorded.
    workers : the threads.
    observer : notified of steps and epochs, after they were recorded.
    announce : called with one line of text after each stage.
    force : whether to begin anew, as the folder was opened.
    explain : whether sentences on what a stage did and why follow its line.

    Raises
    ------
    ConfigError
        If the network does not take the data, the method or the start does not fit the network, or a shard leaves a
        batch norm a single image.
    CheckpointError
        If the network to start from cannot be read.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        folder: RunFolder,
        workers: Workers,
        observer: Observer | None = None,
        announce: Callable[[str], None] = lambda line: None,
        force: bool = False,
        explain: bool = False,
    ) -> None:
        self.config, self.dataset, self.folder, self.workers = config, dataset, folder, workers
        self.observer, self.announce, self.explain = observer or Observer(), announce, explain
        self.network = build_network(config, dataset)
        self.train_set, self.validation = (dataset.train_images, dataset.train_labels), None
        if config.validation:
            split = split_validation(dataset, config.validation, config.seed)
            self.train_set, self.validation = split[:2], split[2:]
        # Settings are chosen on the validation split; the test set is for the final figures only.
        self.held_out = self.validation or (dataset.test_images, dataset.test_labels)
        try:
            check_batches(self.network, len(self.train_set[0]), config.train.batch_size)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.start = None
        # A checkpoint holds all that a run needs of its start, whose file may be gone.
        resumes = folder.checkpoint.is_file() and not force
        if config.init_from and not (resumes and digest_start(config.init_from) is None):
            self.start = load_start(config, self.network)
        self.state = TrainingState()
        remedy = "use the same data and start, or repeat with --force"
        self.checkpoint = Checkpoint(folder.checkpoint, config.used(), dataset.fingerprint, remedy)
        self.pruner: Pruner = build_pruner(config, self.network)
        self.monitor = CollapseMonitor(self.network, self.pruner.remedies)
        self.snapshots = Snapshots(self.network)

    def execute(self) -> dict[str, Any]:
        """Run every stage that is still to be done, record the result and return it.

        Raises
        ------
        StopTraining
            If the observer raised it; a checkpoint was written.
        DivergedError
            If the loss is not a number any more; the last checkpoint is untouched.
        """
        self.folder.write_json("environment.json", describe_environment(self.workers.threads, self.dataset))
        if self.folder.checkpoint.exists():
            self._restore()
        else:
            if self.start is not None:
                self.network.load_state(self.start.arrays)
                self.state.init_from = self.start.origin
                self._test("initial", "start")
            self._begin("train", self.pruner)
            self.snapshots.record("start", 0, 0, self.pruner, self.pruner.masks())
            warn_of_zeros(self.pruner, "start from a network that was not pruned, unless that is what you want")
        # The arrays of the start are not needed any more.
        self.start = None
        if self.state.stage == "train":
            self._train()
            masks = self._prune()
            if self.config.prunes:
                self.state.progress = Progress()
                self._begin("retrain", FixedMask(self.network, masks))
                self.save()
        if self.state.stage == "retrain":
            self._train()
        return self._record()

    def _begin(self, stage: str, pruner: Pruner) -> None:
        self.state.stage, self.pruner = stage, pruner
        self.stage = Stage(stage, self.config.recipe(stage), self.config.seed)
        self.optimizer = self.stage.begin(pruner, len(self.train_set[0]))

    def _train(self) -> None:
        name, epochs = self.stage.name, self.stage.recipe.epochs
        parts = (self.network, self.pruner, self.optimizer, *self.train_set, self.workers)
        try:
            with sparse_retraining(self.pruner):
                train_stage(self.stage, *parts, self.state.progress, _Recorder(self), self.validation)
        except StopTraining:
            self.save()
            raise
        self.pruner.write_test_weights()
        self.state.seconds[name] = self.state.progress.seconds
        self._test(f"{name}ed", f"{name}: {epochs} epoch{'s' if epochs != 1 else ''}")

    def _prune(self) -> Masks:
        began = time.perf_counter()
        self.state.expected_l0 = self.pruner.expected_l0()
        masks = self.pruner.finalise()
        self.monitor.review(masks)
        self.state.seconds["prune"] = time.perf_counter() - began
        if self.config.prunes:
            epochs = self.stage.recipe.epochs
            self.snapshots.record("pruned", epochs, epochs, self.pruner, masks)
            self._test("pruned", "prune")
        return masks

    def _test(self, point: str, what: str) -> None:
        images, labels = self.held_out
        classes = self.network.predict(images, self.workers).argmax(axis=1)
        correct = int((classes == labels).sum())
        self.snapshots.arrays[f"predicted.{point}"] = classes.astype(np.uint16)
        weights = WeightCount.of_network(self.network)
        self.state.correct[point], self.state.kept[point], self.state.live[point] = correct, weights.kept, weights.live
        where = "validation" if self.validation else "test"
        self.announce(f"{what}: {where} accuracy {100 * correct / len(labels):.2f} %, {weights}")
        if self.explain and point != "initial":
            kept = [row.kept for row in self.state.rows if row.stage == "train"]
            for sentence in explain(point, self._result(), masks_of(self.network), kept):
                self.announce(f"  {sentence}")

    def _result(self) -> dict[str, Any]:
        return make_result(self.config, self.dataset, self.state, self.network, len(self.held_out[1]))

    def save(self) -> None:
        """Write the checkpoint."""
        self.checkpoint.save(self.state, self.network, self.pruner, self.optimizer, self.snapshots)

    def _restore(self) -> None:
        with self.checkpoint.loading() as (state, arrays):
            origin = self.start.origin if self.start is not None else state.init_from
            if (state.init_from or {}).get("sha256") != (origin or {}).get("sha256"):
                path = self.folder.checkpoint
                raise CheckpointError(f"{path} began from another network than {origin['path']}; repeat with --force")
            self.network.load_state(arrays["network"])
            pruner = self.pruner
            if state.stage == "retrain":
                pruner = FixedMask(self.network, arrays["pruner"])
            self._begin(state.stage, pruner)
            self.pruner.load_state(arrays["pruner"])
            self.optimizer.load_state(arrays["optimizer"])
            self.snapshots.load_state(arrays["snapshots"])
            self.state = state

    def _record(self) -> dict[str, Any]:
        result = self._result()
        self.folder.write_csv("log.csv", self.state.rows, EpochRow)
        self.folder.write_csv("layers.csv", [LayerMeasure(**row) for row in result["layers"]], LayerMeasure)
        self.snapshots.write(self.folder.snapshots, self.dataset.classes, self.held_out)
        self.folder.write_model(self.network, self.dataset)
        self.folder.write_json("result.json", result)
        self.folder.checkpoint.unlink(missing_ok=True)
        return result


class _Recorder(Observer):
    """Records every epoch, then passes it on to the observer of the run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def begin(self, *stage: Any) -> None:
        self.run.observer.begin(*stage)

    def after_step(self, progress: Progress, loss: float) -> None:
        self.run.observer.after_step(progress, loss)

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        run, masks = self.run, self.run.pruner.masks()
        run.monitor.watch(masks)
        run.state.rows.append(row)
        run.snapshots.record(row.stage, row.epoch, run.stage.recipe.epochs, run.pruner, masks)
        run.save()
        run.folder.write_csv("log.csv", run.state.rows, EpochRow)
        run.snapshots.write(run.folder.snapshots, run.dataset.classes)
        run.observer.after_epoch(progress, row)
