"""What a run folder holds, for the report: whatever can be read, and what is missing."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npl0.declare import ConfigError, Npl0Error
from npl0.runs.folder import read_log
from npl0.runs.snapshots import MOMENTS, RANGES
from npl0.settings.sections import RunConfig, build_config
from npl0.settings.toml import read_toml
from npl0.storage.archive import load_arrays
from npl0.storage.files import brief
from npl0.storage.model_file import load_model


class ReportError(Npl0Error, RuntimeError):
    """A report cannot be made; the message says why and what to do."""


class RunRecord:
    """What could be read from the folder of a run: finished, running, interrupted or failed.

    Attributes
    ----------
    path, config : the folder, and the settings of the run.
    environment, result : the contents of the two JSON files; empty if they are not there.
    rows, network : the epochs in the log, as `read_log` returns them, and the final network, None if there is none.
    header, arrays, moments : the snapshots; empty if there are none. A moment is its `name` in MOMENTS, the `epoch` in
        its stage, and the `quantity` in RANGES that its histograms count.
    missing : sentences, each on something that is not there, what the report lacks for it, and the remedy.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path, self.config, self.missing = path, config, list[str]()
        self.environment = self._read("environment.json", lambda path: dict(json.loads(path.read_bytes())), {})
        self.result = self._read("result.json", _read_result, {})
        self.rows = self._read("log.csv", read_log, [])
        self.network = self._read("model.npz", load_model, None) if self.result else None
        if not self.result:
            recorded = f"{len(self.rows)} of {sum(self.epochs.values())} epochs are recorded. It may be running"
            what = f"not finished: {recorded}, or it was interrupted or failed; this goes on with it"
            if damaged := (self.path / "result.json").is_file():
                what = "finished, but its result.json is damaged; this repeats it"
            where = f"--config {self.path / 'config.toml'} --out {self.path.parent}{' --force' * damaged}"
            self.missing.append(f"This run is {what}: python -m npl0.run {where}")
        self.header, self.arrays, self.moments = self._read("snapshots.npz", _read_snapshots, ({}, {}, []))
        if not (self.path / "snapshots.npz").is_file():
            lost = "the epochs one by one, the confusion matrix and the images that pruning lost"
            self.missing.append(f"There is no snapshots.npz, so {lost} are missing; to get them, repeat the run.")

    def _read(self, name: str, read: Callable[[Path], Any], empty: Any) -> Any:
        """Return what is read from a file, `empty` if it is not there or damaged; damage becomes a sentence."""
        try:
            return read(self.path / name) if (self.path / name).is_file() else empty
        # Damaged files raise almost anything.
        except Exception as error:
            self.missing.append(f"{name} cannot be read, so what it holds is missing: {brief(error)}")
            return empty

    @property
    def epochs(self) -> dict[str, int]:
        """The planned epochs of each stage."""
        return {"train": self.config.train.epochs, "retrain": self.config.retrain.epochs if self.config.prunes else 0}

    @property
    def steps_per_epoch(self) -> int | None:
        """The steps of an epoch; None if the size of the training set is not recorded."""
        images = self.environment.get("data", self.result.get("data", {})).get("train")
        return images and math.ceil((images - self.config.validation) / self.config.train.batch_size)


def _read_result(path: Path) -> dict[str, Any]:
    result = json.loads(path.read_bytes())
    # What the report takes for granted.
    numbers = [result[name]["weights"] for name in ("size", "nnz")] + [result["total"], *result["seconds"].values()]
    numbers += [row[name] for row in result["layers"] for name in ("macs", "macs_nnz")]
    numbers += [result[name][point] for name in ("accuracy", "correct") for point in ("trained", "retrained")]
    if not all(math.isfinite(number) for number in numbers) or not {"measured_on", "data"} <= result.keys():
        raise ValueError("some of its values are missing")
    return result


def _read_snapshots(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], list[dict[str, Any]]]:
    header, arrays = load_arrays(path, "set of snapshots")
    names = ("name", "epoch", "quantity")
    moments = [dict(zip(names, (MOMENTS[m], int(n), list(RANGES)[q]), strict=True)) for m, n, q in arrays["moments"]]
    layers, cells = len(header["layers"]), sum(rows * columns for rows, columns in header["grids"])
    shapes = {"kept": (layers,), "histogram": (layers, arrays["histogram"].shape[2]), "cells": (cells,)}
    for name, shape in {**shapes, "first": arrays["first"].shape[1:]}.items():
        if arrays[name].shape != (len(moments), *shape):
            raise ValueError(f"{name} has the shape {arrays[name].shape}")
    return header, arrays, moments


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
