"""Fixtures that several folders share."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from npl0.runtime.scratch import Allocator
from npl0.runtime.threads import Workers

# Time is not what these tests are about, and a busy machine would fail them.
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
    """An allocator whose memory is full of what is not to be read, as a network's scratch is."""

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
