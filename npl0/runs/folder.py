"""The run folder: what a run leaves behind, every file written whole or not at all."""

import csv
import dataclasses
import io
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from npl0 import __version__
from npl0.settings.sections import ConfigError, RunConfig
from npl0.data import Dataset
from npl0.storage.files import locked, write_text
from npl0.storage.model_file import save_model
from npl0.nn.network import Network
from npl0.settings.toml import format_toml, read_toml
from npl0.training.loop import EpochRow

NOTE = """\
# Made by npl0. Repeat the run, in the folder where it was started, with: python -m npl0.run --force --config THIS-FILE
"""


# What a run leaves behind besides config.toml.
MADE = ("checkpoint.npz", "environment.json", "layers.csv", "log.csv", "model.npz", "result.json")


class RunFolderError(RuntimeError):
    """A run folder cannot be used; the message says why and what to do."""


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    parent : the folder that holds all runs (`--out`).
    config : the run's settings, from which the folder's name comes.
    """

    def __init__(self, parent: str | Path, config: RunConfig) -> None:
        self.path = Path(parent) / config.run_name()
        self.config = config
        self.checkpoint = self.path / "checkpoint.npz"
        self.model = self.path / "model.npz"
        self.result = self.path / "result.json"

    @contextmanager
    def opened(self, force: bool = False, waiting: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
        """Make the folder, or take up the one that is there, and keep other processes out of it during the block.

        Parameters
        ----------
        force : whether a run with other settings may be there, which is then replaced.
        waiting : called with the process that is at work in the folder, if there is one, before waiting for it.

        Raises
        ------
        RunFolderError
            If it cannot be written, or holds a run with other settings.
        """
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path / "lock", waiting))
                if not force:
                    self._check_settings()
                self._take_up()
            except OSError as error:
                raise RunFolderError(
                    f"cannot write to {self.path}: {error.strerror}; choose a folder you may write to with --out"
                ) from error
            yield

    def _check_settings(self) -> None:
        stored = self.path / "config.toml"
        try:
            same = not stored.exists() or read_toml(stored) == self.config.used()
        except ConfigError as error:
            raise RunFolderError(f"{error}; choose another --out, or repeat with --force") from error
        if not same:
            raise RunFolderError(
                f"{self.path} was made by other settings ({stored} differs); choose another --out, "
                "or repeat with --force"
            )

    def _take_up(self) -> None:
        write_text(self.path / "config.toml", NOTE + format_toml(self.config.used()))
        # Files half written by a process that was killed; nobody else writes here now.
        for path in self.path.glob(".*.part"):
            path.unlink()

    @property
    def begun(self) -> bool:
        """Whether it holds a result, or a checkpoint to resume from."""
        return self.result.is_file() or self.checkpoint.is_file()

    def clear(self) -> None:
        """Delete what an earlier run left, its settings aside."""
        for path in self.path.iterdir():
            if path.name in MADE:
                path.unlink()

    def finished(self) -> dict[str, Any] | None:
        """Return the result of a finished run, None if there is none; nothing is written.

        Raises
        ------
        RunFolderError
            If it is that of other settings, or damaged.
        """
        if not self.result.is_file():
            return None
        self._check_settings()
        try:
            return json.loads(self.result.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunFolderError(f"{self.result} is damaged ({error}); repeat the run with --force") from error

    def write_log(self, rows: Iterable[EpochRow]) -> None:
        """Write log.csv, one line an epoch."""
        write_csv(self.path / "log.csv", rows, EpochRow)

    def write_layers(self, rows: list[Any]) -> None:
        """Write layers.csv, one line a layer with weights."""
        write_csv(self.path / "layers.csv", rows, type(rows[0]))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file, indented for people."""
        write_text(self.path / name, json.dumps(content, indent=2) + "\n")

    def write_model(self, network: Network, dataset: Dataset) -> None:
        """Write model.npz, with the run's settings and data beside the network."""
        save_model(
            self.model, network, classes=dataset.classes, settings=self.config.used(), data=describe_data(dataset)
        )


def write_csv(path: Path, rows: Iterable[Any], kind: type) -> None:
    """Write dataclass instances as CSV with their field names as header; floats keep all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in dataclasses.asdict(row).items()} for row in rows)
    write_text(path, text.getvalue())


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Return name, counts, fingerprint and whether the set is the canonical one."""
    return {
        "name": dataset.name,
        "train": len(dataset.train_images),
        "test": len(dataset.test_images),
        "fingerprint": dataset.fingerprint,
        "canonical": dataset.canonical,
    }


def describe_environment(threads: int, dataset: Dataset) -> dict[str, Any]:
    """Return the versions, the machine and the data that a result was made with."""
    packages = ("numpy", "scipy", "numba", "threadpoolctl", "tqdm")
    return {
        "npl0": __version__,
        "python": sys.version.split()[0],
        **{name: _version(name) for name in packages},
        "blas": [
            {key: pool.get(key) for key in ("internal_api", "version", "architecture")}
            for pool in threadpool_info()
            if pool.get("user_api") == "blas"
        ],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "threads": threads,
        "data": describe_data(dataset),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
