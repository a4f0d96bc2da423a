"""The whole flow on real MNIST, small: the first 4,000 training and 2,000 test images."""

import json

import pytest

from npl0.cli import run as run_module
from npl0.data import load_dataset


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory, write_idx):
    """Write the first images of MNIST as four IDX files."""
    folder = tmp_path_factory.mktemp("mnist")
    data = load_dataset("mnist")
    parts = {"train": (data.train_images, data.train_labels, 4000), "t10k": (data.test_images, data.test_labels, 2000)}
    for stem, (images, labels, count) in parts.items():
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", images[:count, 0])
        write_idx(folder / f"{stem}-labels-idx1-ubyte", labels[:count].astype("uint8"))
    return folder


def run(small_mnist, out, capsys, *flags):
    """Run the command on the small set; return the result that --json prints."""
    arguments = ["--data-dir", str(small_mnist), "--out", str(out), "--quiet", "--json", *flags]
    assert run_module.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "collapsing" not in err
    return json.loads(out)


def test_lenet5_learns_is_pruned_and_recovers(small_mnist, tmp_path, capsys):
    flags = ("--epochs", "4", "--retrain-epochs", "1", "--l0-lambda", "2", "--ramp-epochs", "2", "--batch-size", "64")
    result = run(small_mnist, tmp_path, capsys, *flags, "--gate-learning-rate", "0.2")
    assert result["total"] == 2000 and not result["data"]["canonical"]
    # Without the flow these would be 0.1 and 1: the guesses of an untrained network, and nothing pruned.
    assert result["accuracy"]["retrained"] > 0.94
    assert result["compression_ratio"] > 4
    # Folding the gates into the weights changes nothing, so pruning is free.
    assert result["correct"]["pruned"] == result["correct"]["trained"]
    assert result["accuracy"]["retrained"] >= result["accuracy"]["pruned"]
    assert result["size"]["weights"] == 430_500
    assert sum(row["nnz"] for row in result["layers"]) == result["nnz"]["weights"]


def test_the_classic_method_meets_its_compression_and_recovers(small_mnist, tmp_path, capsys):
    flags = ("--method", "magnitude", "--model", "lenet300", "--compression", "5")
    result = run(small_mnist, tmp_path, capsys, *flags, "--epochs", "6", "--retrain-epochs", "4")
    assert result["nnz"]["weights"] == round(266_200 / 5)
    # What the method is known for: pruning hurts, retraining heals.
    assert result["accuracy"]["pruned"] < result["accuracy"]["trained"]
    assert result["accuracy"]["pruned"] < result["accuracy"]["retrained"] > 0.85


@pytest.mark.parametrize("method", ["l0", "magnitude"])
def test_threads_do_not_change_a_bit(small_mnist, tmp_path, capsys, runs, method):
    flags = ("--model", "lenet300", "--method", method, "--epochs", "2", "--retrain-epochs", "1", "--shift", "1")
    outcomes = []
    for threads in ("1", "2"):
        run(small_mnist, tmp_path / threads, capsys, *flags, "--threads", threads)
        outcomes.append(runs.outcome(runs.folder_in(tmp_path / threads)))
    runs.same(*outcomes)


@pytest.mark.slow
def test_the_first_look_warns_of_nothing(tmp_path, capsys):
    assert run_module.main(["--quick", "--quiet", "--json", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "warning" not in err and json.loads(out)["compression_ratio"] > 30
