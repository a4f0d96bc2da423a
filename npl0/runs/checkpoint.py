"""Checkpoints: with the settings and the data, all that the rest of a training depends on."""

import dataclasses
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npl0.runs.environment import what_bits_depend_on
from npl0.storage.archive import CheckpointError, load_arrays, save_arrays
from npl0.storage.files import reported
from npl0.training.loop import EpochRow, Progress

# What holds arrays, by `state()`, and takes them back, by `load_state(arrays)`.
PARTS = ("network", "pruner", "optimizer", "snapshots")


class ResumeWarning(UserWarning):
    """A training is resumed with other versions, or on another machine, than it began with."""


@dataclass
class TrainingState:
    """What a checkpoint holds besides arrays: where the training stands, and what it has found so far."""

    stage: str = "train"
    progress: Progress = field(default_factory=Progress)
    rows: list[EpochRow] = field(default_factory=list)
    correct: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    live: dict[str, int | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    expected_l0: float | None = None
    init_from: dict[str, str] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one training.

    Parameters
    ----------
    path : the file.
    settings : the settings of the training, as JSON values.
    fingerprint : of the data.
    remedy : what messages advise if the file does not belong to this training.
    """

    path: Path
    settings: dict[str, Any]
    fingerprint: str
    remedy: str

    def save(self, state: TrainingState, *holders: Any) -> None:
        """Write the state of a training and of the first of `PARTS`, atomically."""
        parts = dict(zip(PARTS, holders, strict=False))
        arrays = {f"{part}.{name}": array for part, holder in parts.items() for name, array in holder.state().items()}
        header = {"kind": "checkpoint", "settings": self.settings, "fingerprint": self.fingerprint}
        header["environment"] = what_bits_depend_on()
        save_arrays(self.path, {**header, "state": dataclasses.asdict(state)}, arrays)

    @contextmanager
    def loading(self) -> Iterator[tuple[TrainingState, dict[str, dict[str, np.ndarray]]]]:
        """Yield the stored state, and the arrays of each of `PARTS`, for the block to load them.

        CheckpointError if the file is damaged, belongs to another training, or the block cannot load its arrays.
        """
        header, arrays = load_arrays(self.path)
        parts: dict[str, dict[str, np.ndarray]] = {part: {} for part in PARTS}
        with reported(CheckpointError, f"{self.path} does not fit this training", self.remedy):
            # Through JSON, so that both sides have JSON's types.
            if header["settings"] != json.loads(json.dumps(self.settings)):
                raise CheckpointError(f"{self.path} belongs to a training with other settings; {self.remedy}")
            if header["fingerprint"] != self.fingerprint:
                raise CheckpointError(f"{self.path} was made with other data; {self.remedy}")
            here, there = what_bits_depend_on(), header["environment"]
            changed = [key for key in here if there.get(key) != here[key]]
            if changed:
                what = "the resumed training may differ in its last bits from one without a pause"
                values = (f"{key} was {there.get(key)} and is {here[key]}" for key in changed)
                warnings.warn(f"{what}: {'; '.join(values)}", ResumeWarning, stacklevel=3)
            state = TrainingState(**header["state"])
            state.progress, state.rows = Progress(**state.progress), [EpochRow(**row) for row in state.rows]
            for name, array in arrays.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = array
            yield state, parts
