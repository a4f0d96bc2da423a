"""Fixtures that several folders share."""

import csv
import gzip
import html
import json
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import numpy as np
import pytest

from npl0.cli import run as run_module
from npl0.runtime.scratch import Allocator
from npl0.runtime.threads import Workers

# No deadlines: on a busy machine they would fail tests that have nothing to do with time.
hypothesis.settings.register_profile("npl0", deadline=None)
hypothesis.settings.load_profile("npl0")


@pytest.fixture
def workers() -> Iterator[Workers]:
    """One thread."""
    with Workers(1) as one:
        yield one


@pytest.fixture
def generator() -> np.random.Generator:
    """Random numbers, the same for every test."""
    return np.random.default_rng(0)


@pytest.fixture
def dirty() -> Allocator:
    """An allocator whose memory holds NaN or 255, which no code may read, as a network's scratch memory may."""

    class Dirty(Allocator):
        def kept(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            return np.full(shape, np.nan if dtype.kind == "f" else 255, dtype)

    return Dirty()


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Both float types."""
    return np.dtype(request.param)


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    """A folder with the six files of CIFAR-10's binary version, five records in each."""
    folder = tmp_path / "cifar"
    folder.mkdir()
    records = np.random.default_rng(7).integers(0, 256, (6, 5, 3073), np.uint8)
    records[:, :, 0] %= 10
    for name, batch in zip([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], records, strict=True):
        (folder / f"{name}.bin").write_bytes(batch.tobytes())
    return folder


@pytest.fixture(scope="session")
def write_idx() -> Callable[[Path, np.ndarray], None]:
    """Write a uint8 array as an IDX file, compressed if the name ends in `.gz`."""

    def write(path: Path, array: np.ndarray) -> None:
        stream = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
        path.write_bytes(gzip.compress(stream, 1) if path.suffix == ".gz" else stream)

    return write


class Runs:
    """Small runs, and the part of their outcome that must not depend on threads, interrupts or the clock."""

    SMALL = ("--model", "lenet300", "--data", "synthetic", "--epochs", "2", "--retrain-epochs", "1", "--threads", "1")
    # An epoch has 16 steps: gates must move fast to close within two epochs.
    L0 = ("--method", "l0", "--gate-learning-rate", "0.4", "--ramp-epochs", "0", "--l0-lambda", "1")
    FLAGS_OF: ClassVar = {
        "l0": L0,
        "magnitude": ("--method", "magnitude", "--compression", "3"),
        "dense": ("--method", "dense"),
    }
    # Long enough to be killed after its first checkpoint.
    KILLED = (*L0, "--epochs", "5", "--batch-size", "32")
    # Seconds and megabytes differ from run to run; nothing else may.
    TIMES = ("images_per_second", "seconds", "peak_memory_mb")

    @staticmethod
    def folder_in(parent: Path) -> Path:
        """Return the one run folder there is."""
        (folder,) = parent.iterdir()
        return folder

    @staticmethod
    def settings_of(*flags: str) -> dict[str, Any]:
        """Return the settings that these flags set."""
        return run_module.settings_from(run_module.build_parser().parse_args(flags))

    @staticmethod
    def outcome(folder: Path) -> tuple[dict[str, bytes], dict[str, Any], list[dict[str, str]], bytes]:
        """Return arrays, result, log and layers of a finished run, without the times."""
        arrays = {}
        for file, prefix in (("model.npz", ""), ("snapshots.npz", "snapshots: ")):
            with np.load(folder / file) as archive:
                arrays |= {prefix + name: archive[name].tobytes() for name in archive.files}
        result = json.loads((folder / "result.json").read_text())
        del result["seconds"]
        with open(folder / "log.csv", newline="") as file:
            log = [{key: value for key, value in row.items() if key not in Runs.TIMES} for row in csv.DictReader(file)]
        return arrays, result, log, (folder / "layers.csv").read_bytes()

    @staticmethod
    def same(one: tuple, other: tuple) -> None:
        """Assert that two outcomes are equal, without printing megabytes if they differ."""
        assert one[0].keys() == other[0].keys()
        assert [name for name in one[0] if one[0][name] != other[0][name]] == []
        assert one[1:] == other[1:]


@pytest.fixture(scope="session")
def runs() -> type[Runs]:
    """The class `Runs`: test modules cannot import from one another."""
    return Runs


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Run `python -m npl0.run` on a small run, under `tmp_path`; return its exit code, stdout and stderr."""

    def call(*flags: str, out: Path = tmp_path / "runs") -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = run_module.main([*Runs.SMALL, "--out", str(out), *flags])
        except SystemExit as exit_of:
            code = exit_of.code
        return code, *capfd.readouterr()

    return call


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# What a page runs at its end: a script, as the body of an asynchronous function that may wait.
BROWSED = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
</script>
<script>
(async () => { %s })().catch((error) => errors.push(String(error))).then((value) => {
  const text = `FOUND${JSON.stringify({ value, errors })}FOUND`;
  document.body.appendChild(document.createElement("pre")).textContent = text;
});
</script></body>"""


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Open a page in a browser of some width, run a script in it, and return what the script returns."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def look(page: bytes, script: str, width: int = 1280) -> Any:
        folder = tmp_path_factory.mktemp("browser")
        path = folder / "page.html"
        path.write_text(page.decode().replace("</body>", BROWSED % script), encoding="utf-8")
        flags = ["--headless", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--no-first-run"]
        # The sandbox refuses to run as root, as in containers.
        flags += ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0)
        flags += [f"--window-size={width},900", "--virtual-time-budget=20000", "--dump-dom", path.as_uri()]
        done = subprocess.run([browser, *flags], capture_output=True, text=True, encoding="utf-8", timeout=120)
        (text,) = re.findall("<pre>FOUND(.*)FOUND</pre>", done.stdout, re.DOTALL) or pytest.fail(done.stderr[-2000:])
        answer = json.loads(html.unescape(text))
        assert answer["errors"] == []
        return answer["value"]

    return look
