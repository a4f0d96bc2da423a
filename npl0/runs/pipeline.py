"""The flow: train -> prune -> retrain -> measure -> record, resumable between any two steps."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

from npl0.storage.archive import CheckpointError, load_arrays, prefixed, save_arrays, select
from npl0.settings.sections import ConfigError, RunConfig
from npl0.data import Dataset, split_validation
from npl0.runs.build import PRUNERS, build_network
from npl0.training.metrics import count_correct, measure_layers
from npl0.nn.models import CLASSES, INPUT_SHAPES
from npl0.training.optimizers import Optimizer, build_optimizer
from npl0.runtime.threads import Workers
from npl0.pruning import FixedMask, Masks, Pruner
from npl0.runs.folder import RunFolder, describe_environment
from npl0.runs.result import RunState, make_result
from npl0.cli.tables import ratio
from npl0.runs.start import Start
from npl0.training.loop import EpochRow, Observer, Progress, Stage, StopTraining, check_batches, train_stage


class Run:
    """One run of the flow.

    Parameters
    ----------
    config : the settings.
    dataset : the data; its image shape must be the model's.
    folder : where everything is recorded, opened already.
    workers : the threads.
    observer : who looks on; told of steps and epochs after they were recorded.
    announce : called with one line of text after each stage.
    start : the network to start from; None: a random one, or that of the checkpoint.

    Raises
    ------
    ConfigError
        If the model does not take the data's images or classes, or a batch leaves a batch norm with one image.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        folder: RunFolder,
        workers: Workers,
        observer: Observer | None = None,
        announce: Callable[[str], None] = lambda line: None,
        start: Start | None = None,
    ) -> None:
        self.config, self.dataset, self.folder, self.workers = config, dataset, folder, workers
        self.observer, self.announce, self.start = observer or Observer(), announce, start
        if dataset.image_shape != (takes := INPUT_SHAPES[config.model]) or dataset.n_classes > CLASSES:
            raise ConfigError(
                f"{config.model} takes images of shape {takes} in at most {CLASSES} classes; {dataset.name} has "
                f"{dataset.image_shape} in {dataset.n_classes}; choose data of that shape, or another --model"
            )
        self.network = build_network(config, dataset)
        self.train_set, self.validation = (dataset.train_images, dataset.train_labels), None
        if config.validation:
            split = split_validation(dataset, config.validation, config.seed)
            self.train_set, self.validation = split[:2], split[2:]
        check_batches(self.network, len(self.train_set[0]), config.train.batch_size)
        # Settings are chosen on the validation split; the test set is for the final figures only.
        self.held_out = self.validation or (dataset.test_images, dataset.test_labels)
        self.state = RunState()
        self.pruner: Pruner
        self.optimizer: Optimizer

    # ---- the flow -------------------------------------------------------------------------------------------

    def execute(self) -> dict[str, Any]:
        """Run every stage that is still to be done, record the result and return it.

        Raises
        ------
        StopTraining
            If the observer asked for it; a checkpoint was written.
        DivergedError
            If the loss is no longer a number; the last checkpoint is untouched.
        """
        self.folder.write_json("environment.json", describe_environment(self.workers.threads, self.dataset))
        if self.folder.checkpoint.exists():
            self._restore()
        else:
            if self.start is not None:
                self.network.load_state(self.start.arrays)
                self.state.init_from = self.start.origin
                self._test("initial", "start")
            self._begin_train()
        if self.start is not None:
            # They would stay in memory for the whole run, and nothing reads them any more.
            self.start.arrays.clear()
        if self.state.stage == "train":
            self._train("train")
            masks = self._prune()
            if self.config.method != "dense":
                self._begin_retrain(masks)
                self.save()
        if self.state.stage == "retrain":
            self._train("retrain")
        return self._record()

    def _begin_train(self) -> None:
        self.pruner = PRUNERS[self.config.method](self.network, self.config, len(self.train_set[0]))
        train = self.config.train
        self.optimizer = self._optimizer(train.learning_rate, train.weight_decay)

    def _begin_retrain(self, masks: Masks) -> None:
        self.state.stage, self.state.progress = "retrain", Progress()
        self.pruner = FixedMask(self.network, masks)
        retrain = self.config.retrain
        self.optimizer = self._optimizer(retrain.learning_rate, retrain.weight_decay)

    def _optimizer(self, learning_rate: float, weight_decay: float) -> Optimizer:
        train = self.config.train
        return build_optimizer(train.optimizer, self.pruner.groups(learning_rate, weight_decay), train.momentum)

    def _train(self, name: str) -> None:
        settings = self.config.train if name == "train" else self.config.retrain
        train = self.config.train
        stage = Stage(
            name,
            settings.epochs,
            train.batch_size,
            settings.schedule,
            self.config.seed,
            train.shift,
            train.flip,
            train.warmup_epochs if name == "train" else 0.0,
        )
        try:
            train_stage(
                stage,
                self.network,
                self.pruner,
                self.optimizer,
                *self.train_set,
                self.workers,
                self.state.progress,
                _Recorder(self),
                self.validation,
            )
        except StopTraining:
            self.save()
            raise
        self.pruner.write_test_weights()
        self.state.seconds[name] = self.state.progress.seconds
        self._test(
            "trained" if name == "train" else "retrained",
            f"{name}: {settings.epochs} epoch{'s' if settings.epochs != 1 else ''}",
        )

    def _prune(self) -> Masks:
        began = time.perf_counter()
        self.state.expected_l0 = self.pruner.expected_l0()
        masks = self.pruner.finalise()
        self.state.seconds["prune"] = time.perf_counter() - began
        if self.config.method != "dense":
            self._test("pruned", "prune")
        return masks

    def _test(self, point: str, what: str) -> None:
        correct = count_correct(self.network, *self.held_out, self.workers)
        layers = measure_layers(self.network)
        kept, size = sum(row.nnz for row in layers), sum(row.size for row in layers)
        self.state.correct[point], self.state.kept[point] = correct, kept
        total = len(self.held_out[1])
        where = "validation" if self.validation else "test"
        self.announce(
            f"{what}: {where} accuracy {100 * correct / total:.2f} %, {kept:,} of {size:,} weights "
            f"({ratio(size, kept)})"
        )

    # ---- checkpoints ----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint: with the configuration, it is all that the rest of the run depends on."""
        header = {
            "kind": "checkpoint",
            "settings": self.config.used(),
            "fingerprint": self.dataset.fingerprint,
            "state": dataclasses.asdict(self.state),
        }
        masks = self.pruner.masks() if self.state.stage == "retrain" else {}
        arrays = {
            **prefixed(self.network.state(), "network."),
            **prefixed(self.pruner.state(), "pruner."),
            **prefixed(self.optimizer.state(), "optimizer."),
            **prefixed(masks, "mask."),
        }
        save_arrays(self.folder.checkpoint, header, arrays)

    def _restore(self) -> None:
        path = self.folder.checkpoint
        header, arrays = load_arrays(path)
        # Through JSON, so that both sides have JSON's types.
        if header.get("kind") != "checkpoint" or header.get("settings") != json.loads(json.dumps(self.config.used())):
            raise CheckpointError(f"{path} belongs to a run with other settings; repeat with --force")
        if header["fingerprint"] != self.dataset.fingerprint:
            raise CheckpointError(f"{path} was made with other data; use the same data, or repeat with --force")
        origin = header["state"].get("init_from") or {}
        if self.start is not None and origin.get("sha256") != self.start.sha256:
            raise CheckpointError(f"{path} began from another network than {self.start.path}; repeat with --force")
        try:
            state = RunState(**header["state"])
            state.progress = Progress(**state.progress)
            state.rows = [EpochRow(**row) for row in state.rows]
            self.network.load_state(select(arrays, "network."))
            if state.stage == "train":
                self._begin_train()
            else:
                self._begin_retrain(select(arrays, "mask."))
            self.state = state
            self.pruner.load_state(select(arrays, "pruner."))
            self.optimizer.load_state(select(arrays, "optimizer."))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this run ({error}); repeat with --force") from error

    # ---- the result -----------------------------------------------------------------------------------------

    def _record(self) -> dict[str, Any]:
        layers = measure_layers(self.network)
        result = make_result(self.config, self.dataset, self.state, self.network, layers, len(self.held_out[1]))
        self.folder.write_log(self.state.rows)
        self.folder.write_layers(layers)
        self.folder.write_model(self.network, self.dataset)
        self.folder.write_json("result.json", result)
        self.folder.checkpoint.unlink(missing_ok=True)
        return result


class _Recorder(Observer):
    """Records every epoch, then passes on to the observer of the run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def after_step(self, progress: Progress, loss: float) -> None:
        self.run.observer.after_step(progress, loss)

    def after_epoch(self, progress: Progress, row: EpochRow) -> None:
        self.run.state.rows.append(row)
        self.run.save()
        self.run.folder.write_log(self.run.state.rows)
        self.run.observer.after_epoch(progress, row)
