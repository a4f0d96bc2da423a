"""What the tests of `eval`, `predict` and `summary` share: a finished run and the command."""

import pytest

import npl0
from npl0 import __main__
from npl0.cli import run as run_module

FLAGS = ["--model", "lenet300", "--data", "synthetic", "--threads", "1", "--quiet", "--method", "magnitude"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    parent = tmp_path_factory.mktemp("runs")
    settings = ["--epochs", "5", "--retrain-epochs", "2", "--compression", "4"]
    assert run_module.main([*FLAGS, *settings, "--out", str(parent)]) == 0
    (folder,) = parent.iterdir()
    return folder


@pytest.fixture
def command(capfd):
    """Run `python -m npl0 ...` in this process; return exit code, stdout and stderr."""

    def call(*arguments):
        capfd.readouterr()
        try:
            code = __main__.main([str(argument) for argument in arguments])
        except SystemExit as exit_of:
            code = exit_of.code
        return code, *capfd.readouterr()

    return call


@pytest.fixture(scope="module")
def digits():
    """Forty test images, (40, 28, 28) uint8, and the names of their classes."""
    data = npl0.load_dataset("synthetic")
    return data.test_images[:40, 0], [data.classes[i] for i in data.test_labels[:40]]
