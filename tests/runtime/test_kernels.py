"""Kernels give the same bits whether they were just compiled or loaded from the cache."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

import npl0.ops
from npl0.runtime import kernels

ROOT = Path(__file__).parent.parent.parent

TRAIN = """
import hashlib
import numpy as np
from npl0 import L0, fit, nn

generator = np.random.default_rng(0)
images, labels = generator.integers(0, 256, (8, 3, 32, 32)).astype(np.uint8), generator.integers(0, 10, 8)
network = nn.build_model("vgg16", width=1 / 4)
fit(network, images, labels, L0(network), epochs=2, optimizer="sgd", quiet=True)
print(hashlib.sha256(b"".join(array.tobytes() for array in network.state().values())).hexdigest())
"""


def test_every_compiled_function_that_a_kernel_calls_is_inlined():
    names = [module.name for module in pkgutil.iter_modules(npl0.ops.__path__)]
    functions = [
        entry
        for name in names
        for entry in vars(importlib.import_module(f"npl0.ops.{name}")).values()
        if isinstance(entry, Dispatcher)
    ]
    called = {name for function in functions for name in function.py_func.__code__.co_names}
    inlined = {
        function.py_func.__name__
        for function in functions
        if function.targetoptions.get("forceinline") or function.targetoptions.get("inline") == "always"
    }
    assert {function.py_func.__name__ for function in functions} & called == inlined != set()


@pytest.mark.slow
def test_a_training_that_compiles_its_kernels_has_the_bits_of_one_that_loads_them(tmp_path):
    command, environment = [sys.executable, "-c", TRAIN], {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    compiled, loaded = (
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert compiled == loaded


def test_kernels_are_compiled_without_a_cache_where_nothing_can_be_written(monkeypatch):
    def refuse(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(kernels, "_Cache", refuse)
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to a writable folder"):
        assert kernels.kernel(lambda x: x + 1)(2) == 3


def damage_index(index, code):
    index.write_bytes(index.read_bytes()[:50])


def damage_code(index, code):
    # A bit in the middle, which is machine code.
    content = bytearray(code.read_bytes())
    content[len(content) // 2] ^= 1
    code.write_bytes(content)


def make_it_a_folder(index, code):
    code.unlink()
    code.mkdir()


@pytest.mark.parametrize("damage", [damage_index, damage_code, make_it_a_folder])
def test_a_damaged_cache_means_compiling_anew(damage, monkeypatch, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    def call():
        made = kernels.kernel(double)
        assert made(2) == 4
        return sum(made.stats.cache_hits.values())

    assert [call(), call()] == [0, 1]
    (index,), (code,) = tmp_path.rglob("*.nbi"), tmp_path.rglob("*.nbc")
    damage(index, code)
    assert call() == 0
    if code.is_dir():
        code.rmdir()
        assert call() == 0
    assert call() == 1
    # Deleted while the program runs.
    shutil.rmtree(index.parent)
    assert [call(), call()] == [0, 1]


def double(x):
    return 2 * x
