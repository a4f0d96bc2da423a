"""What the tests of the report share: small finished runs, and the data in a page."""

import json
import re
import shutil

import pytest

from npl0.cli import run as run_module

pytest.importorskip("matplotlib", reason="reports need matplotlib, the extra `plot`")

COMMON = ["--data", "synthetic", "--threads", "1", "--quiet", "--epochs", "2", "--retrain-epochs", "1"]
RUNS = {
    "l0": ["--model", "lenet5", "--gate-learning-rate", "0.6", "--ramp-epochs", "1", "--l0-lambda", "4"],
    "magnitude": ["--model", "mlp:40-20", "--method", "magnitude", "--compression", "30"],
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folders of two finished runs, by method."""
    folders = {}
    for name, flags in RUNS.items():
        parent = tmp_path_factory.mktemp(name)
        assert run_module.main([*COMMON, *flags, "--out", str(parent)]) == 0
        (folders[name],) = parent.iterdir()
    return folders


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a run folder, to be damaged."""
    return lambda name="l0": shutil.copytree(finished[name], tmp_path / finished[name].name)


@pytest.fixture(scope="session")
def data_in():
    """Return the data in a page."""

    def read(page):
        (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
        return json.loads(text)

    return read
