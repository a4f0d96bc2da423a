"""The command line of `python -m npl0.run`: what is refused, and what is printed without a run."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from npl0.cli import run as run_module
from npl0.settings.sections import build_config
from npl0.settings.toml import read_toml

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epoch", "1"], "unknown argument '--epoch': did you mean '--epochs'?"),
        (["--epochs", "-1"], "[train] epochs = -1 is out of range: it must be 0 to 100000"),
        (["--retrain-learning-rate", "0"], "[retrain] learning_rate = 0.0 is out of range: it must be above 0"),
        (["--l0-lambda", "nan"], "[l0] l0_lambda = nan is out of range"),
        (["--model", "lenet"], "model 'lenet' is unknown: did you mean 'lenet5'?"),
        (["--method", "magnitud"], "method 'magnitud' is unknown: did you mean 'magnitude'?"),
        (["--data", "mnits"], "data 'mnits' is unknown: did you mean 'mnist'?"),
        (["--threads", "0"], "threads = 0 is out of range: it must be at least 1"),
        (["--config", "nowhere.toml"], "cannot read the configuration nowhere.toml: No such file"),
        (["--layer-lambda", "fc1"], "layer_lambda 'fc1' is not NAME=FACTOR"),
    ],
)
def test_usage_errors_come_before_anything_is_touched(command, tmp_path, flags, message):
    code, out, err = command(*flags)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_layer_that_is_not_there_is_a_usage_error(command):
    code, _, err = command("--layer-lambda", "conv7=2")
    assert code == 2
    assert "layer_lambda names conv7; the gated layers are fc1, fc2, fc3" in err


@pytest.mark.parametrize("flags", [["--dry-run"], []])
def test_a_width_that_the_model_has_not_is_a_usage_error(command, tmp_path, flags):
    code, out, err = command("--width", "0.5", *flags)
    assert (code, out) == (2, "")
    assert "width = 0.5 is for vgg16; lenet300 has one size: leave width at 1" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_data_that_the_model_does_not_take_are_refused_before_they_are_loaded(command, monkeypatch, tmp_path, dry):
    monkeypatch.setattr("npl0.data.load_dataset", lambda *_: pytest.fail("the data was loaded"))
    code, _, err = command("--data", "cifar10", *dry)
    assert code == 2 and not (tmp_path / "runs").exists()
    assert (
        "lenet300 takes images of shape (1, 28, 28), but those of cifar10 are (3, 32, 32); use --data mnist or " in err
    )


def test_a_model_that_takes_the_data_is_a_remedy(command):
    _, _, err = command("--data", "cifar10")
    assert "use --data mnist or --data synthetic or --model vgg16" in err


@pytest.mark.parametrize("flags", [(), ("--offline",)])
def test_offline_reaches_the_loader(command, monkeypatch, flags):
    from npl0.data import DataError

    def load(name, data_dir, offline, quiet):
        raise DataError(f"offline is {offline}")

    monkeypatch.setattr("npl0.data.load_dataset", load)
    code, _, err = command(*flags)
    assert code == 1 and f"offline is {bool(flags)}" in err


def test_dry_run_prints_a_configuration_that_gives_the_same_run(command, tmp_path):
    code, out, err = command("--l0-lambda", "7.5", "--seed", "3", "--data-dir", str(tmp_path / "ünï"), "--dry-run")
    assert (code, err) == (0, "")
    assert not (tmp_path / "runs").exists()
    path = tmp_path / "again.toml"
    path.write_text(out, encoding="utf-8")
    assert read_toml(path)["l0"]["l0_lambda"] == 7.5
    name = build_config(read_toml(path)).run_name()
    assert out.startswith(f"# run folder: {tmp_path / 'runs' / name}\n")
    assert run_module.main(["--config", str(path), "--out", str(tmp_path / "runs"), "--dry-run"]) == 0


def test_flags_stand_over_the_configuration_file(command, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 5\n[l0]\nl0_lambda = 2\ngate_learning_rate = 0.25\n", encoding="utf-8")
    _, out, _ = command("--config", str(path), "--l0-lambda", "3", "--dry-run")
    settings = build_config(tomllib.loads(out))
    assert (settings.seed, settings.l0.l0_lambda, settings.l0.gate_learning_rate) == (5, 3.0, 0.25)


def test_help_is_quick_and_loads_no_arrays():
    code = "import sys; from npl0.cli.run import main\ntry: main(['--help'])\nexcept SystemExit: print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--l0-lambda X" in out and out.endswith("False\n")


def test_main_hands_over_to_the_commands(capsys):
    from npl0 import __version__
    from npl0.__main__ import main

    assert main([]) == main(["--help"]) == 0
    assert "gradcheck" in capsys.readouterr().out
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"npl0 {__version__}\n"
    assert main(["evla"]) == 2 and "'evla' is no command: did you mean 'eval'?" in capsys.readouterr().err
    assert main(["run", "--dry-run"]) == 0 and "# run folder: runs/lenet5-mnist-l0-" in capsys.readouterr().out
