"""The run folder: what a run leaves behind, every file written whole or not at all."""

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from npl0.data.dataset import Dataset
from npl0.declare import ConfigError, Npl0Error
from npl0.nn.network import Network
from npl0.settings.sections import RunConfig
from npl0.settings.toml import format_toml, read_toml
from npl0.storage.files import locked, write_text
from npl0.storage.model_file import save_model
from npl0.training.loop import STAGES

NOTE = """\
# Made by npl0. Repeat the run, in the folder where it was started, with: python -m npl0.run --force --config THIS-FILE
"""

# What a run leaves behind besides config.toml. The result marks a finished run: it is deleted first and written last.
MADE = (
    *("result.json", "checkpoint.npz", "environment.json", "layers.csv", "log.csv", "model.npz"),
    *("snapshots.npz", "report.html"),
)


class RunFolderError(Npl0Error, RuntimeError):
    """A run folder cannot be used; the message says why and what to do."""


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    parent : the folder that holds all runs.
    config : the settings of the run, which give the folder its name.
    """

    def __init__(self, parent: str | Path, config: RunConfig) -> None:
        self.path, self.config = Path(parent) / config.run_name(), config
        self.checkpoint = self.path / "checkpoint.npz"
        self.result = self.path / "result.json"
        self.snapshots, self.report = self.path / "snapshots.npz", self.path / "report.html"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r}, {'finished' if self.result.is_file() else 'not finished'})"

    @contextmanager
    def opened(self, force: bool = False, waiting: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
        """Create or reuse the folder, and keep other processes out of it inside the block.

        Parameters
        ----------
        force : whether to replace a run with other settings.
        waiting : called with the name of the process that works in the folder, before waiting for it.

        Raises
        ------
        RunFolderError
            If the folder cannot be written, or holds a run with other settings.
        """
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path / "lock", waiting))
                if force:
                    self.clear()
                else:
                    self._check_settings()
                write_text(self.path / "config.toml", NOTE + format_toml(self.config.used()))
                # Half-written files of killed processes; no other process writes here now.
                for path in self.path.glob(".*.part"):
                    path.unlink()
            except OSError as error:
                raise self._not_writable(error.strerror) from error
            yield

    def check_writable(self) -> None:
        """Raise RunFolderError if the folder cannot be created or written; nothing is written."""
        nearest = next(path for path in (self.path, *self.path.parents) if path.exists())
        if not nearest.is_dir():
            raise self._not_writable(f"{nearest} is not a folder")
        if not os.access(nearest, os.W_OK):
            raise self._not_writable("permission denied")

    def _not_writable(self, why: str | None) -> RunFolderError:
        return RunFolderError(f"cannot write to {self.path}: {why}; choose a folder you may write to with --out")

    def _check_settings(self) -> None:
        stored = self.path / "config.toml"
        try:
            same = not stored.exists() or read_toml(stored) == self.config.used()
        except ConfigError as error:
            raise RunFolderError(f"{error}; choose another --out, or repeat with --force") from error
        if not same:
            raise RunFolderError(
                f"{self.path} was made with other settings ({stored} differs); choose another --out, "
                "or repeat with --force"
            )

    @property
    def begun(self) -> bool:
        """Whether the folder holds a result, or a checkpoint to resume from."""
        return self.result.is_file() or self.checkpoint.is_file()

    def clear(self) -> None:
        """Delete what an earlier run left, except its settings."""
        for name in MADE:
            (self.path / name).unlink(missing_ok=True)

    def finished(self) -> dict[str, Any] | None:
        """Return the result of a finished run, or None; RunFolderError if it is damaged or of other settings."""
        if not self.result.is_file():
            return None
        self._check_settings()
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise RunFolderError(f"{self.result} is damaged ({error}); repeat the run with --force") from error
        if not (model := self.path / "model.npz").is_file():
            raise RunFolderError(f"the run is finished, but {model} is not there; repeat the run with --force")
        return result

    def write_csv(self, name: str, rows: Iterable[Any], kind: type) -> None:
        """Write instances of a dataclass under the names of its fields; floats keep all their digits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in dataclasses.asdict(row).items()} for row in rows)
        write_text(self.path / name, text.getvalue())

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write an indented JSON file."""
        write_text(self.path / name, json.dumps(content, indent=2) + "\n")

    def write_model(self, network: Network, dataset: Dataset) -> None:
        """Write model.npz: the network, with the settings and the data of the run."""
        path, settings = self.path / "model.npz", self.config.used()
        save_model(path, network, dataset, settings=settings)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the epochs in a log.csv, with None where a column is empty; damage raises exceptions of many types."""
    rows: list[dict[str, Any]] = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            numbers = {name: float(text) if text else None for name, text in row.items() if name != "stage"}
            needed = [numbers[name] for name in ("epoch", "loss", "penalty", "train_accuracy", "kept", "seconds")]
            if row["stage"] not in STAGES or not all(map(math.isfinite, needed)):
                raise ValueError(f"line {len(rows) + 2} is damaged")
            rows.append({**row, **numbers})
    return rows
