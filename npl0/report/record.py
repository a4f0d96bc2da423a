"""What a run folder holds, for the report: whatever can be read, and what is missing."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npl0.declare import ConfigError, Npl0Error
from npl0.nn.network import Network
from npl0.runs.snapshots import MOMENTS, RANGES
from npl0.settings.sections import RunConfig, build_config
from npl0.settings.toml import read_toml
from npl0.storage.archive import load_arrays
from npl0.storage.files import brief
from npl0.storage.model_file import load_model

_NUMBERS = ("epoch", "loss", "penalty", "train_accuracy", "kept", "seconds")


class ReportError(Npl0Error, RuntimeError):
    """A report cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Moment:
    """A moment of the snapshots: its name in MOMENTS, the epoch in its stage, and what its histograms count."""

    name: str
    epoch: int
    quantity: str

    def label(self, epochs: dict[str, int]) -> str:
        """Return what to call the moment, in a run of so many epochs by stage."""
        if self.name in ("start", "pruned"):
            return {"start": "before training", "pruned": "after pruning"}[self.name]
        return f"{'retraining, ' * (self.name == 'retrain')}epoch {self.epoch} of {epochs[self.name]}"


@dataclass
class RunRecord:
    """What could be read from the folder of a run: finished, running, interrupted or failed.

    Parameters
    ----------
    path, config : the folder, and the settings of the run.

    Attributes
    ----------
    result, environment : the contents of the two JSON files; empty if they are not there.
    rows : the log, one dictionary of numbers per epoch; None where a column is empty.
    network : the final network, None if there is none.
    header, arrays, moments : the snapshots; empty if there are none.
    missing : sentences, each on something that is not there, what the report lacks for it, and the remedy.
    """

    path: Path
    config: RunConfig
    result: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    network: Network | None = None
    header: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._read("environment.json", self._read_environment)
        self._read("result.json", self._read_result)
        self._read("log.csv", self._read_log)
        if self.result:
            self._read("model.npz", self._read_network)
        else:
            where = f"--config {self.path / 'config.toml'} --out {self.path.parent}"
            self.missing.append(
                f"This run is not finished: {len(self.rows)} of {sum(self.epochs.values())} epochs are recorded. It "
                f"may be running, or it was interrupted or failed; this goes on with it: python -m npl0.run {where}"
            )
        if (self.path / "snapshots.npz").is_file():
            self._read("snapshots.npz", self._read_snapshots)
        else:
            lost = "the epochs one by one, the confusion matrix and the images that pruning lost"
            self.missing.append(f"There is no snapshots.npz, so {lost} are missing; to get them, repeat the run.")

    @property
    def epochs(self) -> dict[str, int]:
        """The planned epochs of each stage."""
        return {"train": self.config.train.epochs, "retrain": self.config.retrain.epochs if self.config.prunes else 0}

    @property
    def steps_per_epoch(self) -> int | None:
        """The steps of an epoch; None if the size of the training set is not recorded."""
        images = self.environment.get("data", self.result.get("data", {})).get("train")
        return images and math.ceil((images - self.config.validation) / self.config.train.batch_size)

    def _read(self, name: str, read: Any) -> None:
        """Read a file if it is there; what is wrong with it becomes a sentence."""
        try:
            if (self.path / name).is_file():
                read(self.path / name)
        # Damaged files raise almost anything.
        except Exception as error:
            self.missing.append(f"{name} cannot be read, so what it holds is missing: {brief(error)}")

    def _read_environment(self, path: Path) -> None:
        self.environment = dict(json.loads(path.read_text(encoding="utf-8")))

    def _read_result(self, path: Path) -> None:
        result = json.loads(path.read_text(encoding="utf-8"))
        # What the report takes for granted.
        numbers = [result[name]["weights"] for name in ("size", "nnz")] + [result["total"], *result["seconds"].values()]
        numbers += [row[name] for row in result["layers"] for name in ("size", "nnz", "macs", "macs_nnz")]
        numbers += [result[name][point] for name in ("accuracy", "correct") for point in ("trained", "retrained")]
        if not all(math.isfinite(number) for number in numbers) or not {"measured_on", "data"} <= result.keys():
            raise ValueError("some of its values are missing")
        self.result = result

    def _read_log(self, path: Path) -> None:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                stage = row.pop("stage")
                numbers = {name: float(text) if text else None for name, text in row.items()}
                if stage not in self.epochs or not all(math.isfinite(numbers[name]) for name in _NUMBERS):
                    raise ValueError(f"line {len(self.rows) + 2} is damaged")
                self.rows.append({"stage": stage, **numbers})

    def _read_network(self, path: Path) -> None:
        self.network = load_model(path)

    def _read_snapshots(self, path: Path) -> None:
        header, arrays = load_arrays(path, "set of snapshots")
        moments = [Moment(MOMENTS[m], int(epoch), list(RANGES)[q]) for m, epoch, q in arrays["moments"]]
        layers, cells = len(header["layers"]), sum(rows * columns for rows, columns in header["grids"])
        shapes = {"kept": (layers,), "histogram": (layers, arrays["histogram"].shape[2]), "cells": (cells,)}
        for name, shape in {**shapes, "first": arrays["first"].shape[1:]}.items():
            if arrays[name].shape != (len(moments), *shape):
                raise ValueError(f"{name} has the shape {arrays[name].shape}")
        self.header, self.arrays, self.moments = header, arrays, moments


def read_run(folder: str | Path) -> RunRecord:
    """Read the folder of a run, or of a file in it; ReportError if it is none, or its settings cannot be read."""
    path = Path(folder)
    path = path.parent if path.is_file() else path
    if not (path / "config.toml").is_file():
        inside = sorted(entry.parent.name for entry in path.glob("*/config.toml"))
        hint = f"it holds the runs {', '.join(inside[:5])}: name them" if inside else "name the folder of a run"
        raise ReportError(f"{path} {'has no config.toml' if path.exists() else 'does not exist'}; {hint}")
    try:
        return RunRecord(path, build_config(read_toml(path / "config.toml")))
    except ConfigError as error:
        raise ReportError(f"{path} cannot be shown: {error}") from error
