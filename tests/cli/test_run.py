"""The command line of `python -m npl0.run`: usage errors, and what is printed without a run."""

import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from npl0.__main__ import COMMANDS
from npl0.cli import run as run_module
from npl0.settings.sections import build_config
from npl0.settings.toml import read_toml

ROOT = Path(__file__).parents[2]


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
        (["--threads", "0"], "argument --threads: must be a whole number of at least 1, not 0"),
        (["--config", "nowhere.toml"], "cannot read nowhere.toml: No such file"),
        (["--layer-lambda", "fc1"], "layer_lambda 'fc1' is not NAME=FACTOR"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_written(run, tmp_path, flags, message):
    code, out, err = run(*flags)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_layer_that_does_not_exist_is_a_usage_error(run):
    code, _, err = run("--layer-lambda", "conv7=2")
    assert code == 2
    assert "layer_lambda names conv7; the gated layers are fc1, fc2, fc3" in err


@pytest.mark.parametrize("flags", [["--dry-run"], []])
def test_the_width_of_a_model_of_one_size_is_a_usage_error(run, tmp_path, flags):
    code, out, err = run("--width", "0.5", *flags)
    assert (code, out) == (2, "")
    assert "width = 0.5 is for vgg16; lenet300 has one size: leave width at 1" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_data_that_do_not_fit_the_model_are_refused_before_they_are_loaded(run, monkeypatch, tmp_path, dry):
    monkeypatch.setattr("npl0.data.load_dataset", lambda *_: pytest.fail("the data was loaded"))
    code, _, err = run("--data", "mnist", "--model", "vgg16", *dry)
    assert code == 2 and not (tmp_path / "runs").exists()
    assert "vgg16 with images of shape (1, 28, 28): " in err
    network = tmp_path / "rgb.toml"
    network.write_text('input_shape = [3, 8, 8]\nlayers = [{layer = "Flatten"}, {layer = "Linear", out_features = 9}]')
    code, _, err = run("--data", "cifar10", "--model", str(network), *dry)
    assert code == 2 and not (tmp_path / "runs").exists()
    assert "rgb takes images of shape (3, 8, 8) in at most 9 classes; cifar10 has (3, 32, 32) in 10; choose ot" in err


def test_lenets_take_images_of_other_sizes_and_channels(run, tmp_path):
    for model in ("lenet300", "lenet5"):
        code, out, err = run("--data", "cifar10", "--model", model, "--dry-run")
        assert (code, err) == (0, "") and 'data = "cifar10"' in out


@pytest.mark.parametrize("flags", [(), ("--offline",)])
def test_offline_reaches_the_loader(run, monkeypatch, flags):
    from npl0.data import DataError

    def load(name, data_dir, offline, quiet):
        raise DataError(f"offline is {offline}")

    monkeypatch.setattr("npl0.data.load_dataset", load)
    code, _, err = run(*flags)
    assert code == 1 and f"offline is {bool(flags)}" in err


def test_dry_run_prints_a_configuration_that_gives_the_same_run(run, tmp_path):
    code, out, err = run("--l0-lambda", "7.5", "--seed", "3", "--data-dir", str(tmp_path / "ünï"), "--dry-run")
    assert (code, err) == (0, "")
    assert not (tmp_path / "runs").exists()
    path = tmp_path / "again.toml"
    path.write_text(out, encoding="utf-8")
    assert read_toml(path)["l0"]["l0_lambda"] == 7.5
    name = build_config(read_toml(path)).run_name()
    assert out.startswith(f"# run folder: {tmp_path / 'runs' / name}\n")
    assert run_module.main(["--config", str(path), "--out", str(tmp_path / "runs"), "--dry-run"]) == 0


def test_flags_override_the_configuration_file(run, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 5\n[l0]\nl0_lambda = 2\ngate_learning_rate = 0.25\n", encoding="utf-8")
    _, out, _ = run("--config", str(path), "--l0-lambda", "3", "--dry-run")
    settings = build_config(tomllib.loads(out))
    assert (settings.seed, settings.options.l0_lambda, settings.options.gate_learning_rate) == (5, 3.0, 0.25)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_numpy(arguments):
    code = (
        "import sys; from npl0.__main__ import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'scipy', 'numba') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.startswith("usage: python -m npl0 ") and out.endswith("\n[]\n")


def test_main_runs_the_commands(capsys):
    from npl0 import __version__
    from npl0.__main__ import main

    assert main([]) == main(["--help"]) == 0
    assert "gradcheck" in capsys.readouterr().out
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"npl0 {__version__}\n"
    assert main(["evla"]) == 2 and "'evla' is no command: did you mean 'eval'?" in capsys.readouterr().err
    assert main(["run", "--dry-run"]) == 0 and "# run folder: runs/lenet5-mnist-l0-" in capsys.readouterr().out


def test_a_run_in_a_thread_of_the_users_program_gives_the_bits_of_one_in_the_main_thread(tmp_path):
    text = "--model mlp:8 --data synthetic --epochs 1 --retrain-epochs 1 --method magnitude --threads 2 --quiet"
    flags = text.split()
    codes = [run_module.main([*flags, "--out", str(tmp_path / "main")])]
    thread = threading.Thread(target=lambda: codes.append(run_module.main([*flags, "--out", str(tmp_path / "thread")])))
    thread.start()
    thread.join()
    assert codes == [0, 0]
    one, other = (next((tmp_path / name).iterdir()) / "model.npz" for name in ("main", "thread"))
    assert one.read_bytes() == other.read_bytes()
