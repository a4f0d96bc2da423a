"""Train under extreme settings, on odd data, in both precisions, and long: `python experiments/extremes.py`.

Every case must end in a sane result (finite weights, an accuracy, counts that add up) or in an error that names step,
stage and tensor. float32 must stay near float64, and a training of 1,000 epochs must not gain memory or file handles.
Exits with code 1 otherwise. Takes a minute or two.
"""

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import npl0
from npl0.nn.summary import table
from npl0.runtime import rng
from npl0.training.metrics import WeightCount

MODEL = "lenet300"
RECIPE = {"epochs": 2, "batch_size": 50, "threads": 2, "quiet": True}


def cases(images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return what each case changes: settings of `fit`, `method` and its settings, images, labels, `log_alpha`."""
    rare = labels != 7
    few = np.arange(len(labels)) // 40 * 40
    return {
        "rate 100, SGD": {"learning_rate": 100.0, "optimizer": "sgd"},
        "rate 100, Adam": {"learning_rate": 100.0},
        "rate 1e-30": {"learning_rate": 1e-30},
        "weight decay 1, rate 10, SGD": {"learning_rate": 10.0, "weight_decay": 1.0, "optimizer": "sgd"},
        "momentum 0.9999, SGD": {"momentum": 0.9999, "optimizer": "sgd"},
        "lambda 1e6": {"method": npl0.L0, "l0_lambda": 1e6, "ramp_epochs": 0},
        "lambda 0": {"method": npl0.L0, "l0_lambda": 0.0},
        "rate of the gates 100": {"method": npl0.L0, "gate_learning_rate": 100.0},
        "log_alpha 80": {"method": npl0.L0, "log_alpha": 80.0},
        "log_alpha -80": {"method": npl0.L0, "log_alpha": -80.0},
        "compression 1e9": {"method": npl0.Magnitude, "compression": 1e9},
        "batches of 1": {"batch_size": 1, "images": images[:100], "labels": labels[:100]},
        "one batch of everything": {"batch_size": 65_536},
        "a class that never appears": {"images": images[rare], "labels": labels[rare]},
        "one class only": {"labels": np.zeros_like(labels)},
        "constant images": {"images": np.full_like(images, 128)},
        "25 images, each 40 times": {"images": images[few], "labels": labels[few]},
        "10 images in all": {"images": images[:10], "labels": labels[:10]},
    }


def outcome(case: dict[str, Any], images: np.ndarray, labels: np.ndarray, folder: Path) -> str:
    """Train, prune and retrain a case; return what came out, in words. Raises AssertionError if that is not sane."""
    case = {"images": images, "labels": labels, "method": npl0.Pruner, **RECIPE, **case}
    images, labels, method, log_alpha = (case.pop(name, None) for name in ("images", "labels", "method", "log_alpha"))
    names = ("l0_lambda", "ramp_epochs", "gate_learning_rate", "compression")
    network = npl0.build_model(MODEL)
    pruner = method(network, **{name: case.pop(name) for name in names if name in case})
    if log_alpha is not None:
        pruner.begin(npl0.Plan(0, len(images), case["epochs"], 1))
        for parameter in pruner.log_alphas:
            parameter.value[...] = log_alpha
        pruner.write_test_weights()
    checkpoint = folder / "checkpoint.npz"
    checkpoint.unlink(missing_ok=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            npl0.fit(network, images, labels, pruner, checkpoint=checkpoint, **case)
            masks = pruner.finalise()
            npl0.fit(network, images, labels, npl0.FixedMask(network, masks), **case)
    except npl0.DivergedError as error:
        words = str(error)
        # Where, which stage, and the first tensor: a loss or weight of a layer, an output or a gradient.
        assert "step" in words or "after epoch" in words, words
        assert "of the train stage" in words or "of the retrain stage" in words, words
        assert any(kind in words for kind in ("output of", "parameter", "gradient of", "is not finite", "overflows")), (
            words
        )
        return f"refused: {words.partition('. ')[0]}"
    count = WeightCount.of_network(network)
    assert all(np.isfinite(array).all() for array in network.state().values())
    assert 0 <= count.live <= count.kept == sum(int(mask.sum()) for mask in masks.values())
    assert np.isfinite(network.predict(images)).all()
    accuracy = npl0.count_correct(network, images, labels) / len(labels)
    said = f"; {len(caught)} warnings" if caught else ""
    return f"accuracy {accuracy:.1%}, {count.kept:,} weights kept{said}"


def keeps_the_last_checkpoint(images: np.ndarray, labels: np.ndarray, folder: Path) -> str:
    """Let a training diverge in a late epoch, and go on from its checkpoint at a lower rate; say in which epoch."""
    checkpoint = folder / "late.npz"
    recipe = {
        **RECIPE,
        "epochs": 200,
        "optimizer": "sgd",
        "learning_rate": 100.0,
        "warmup_epochs": 1000.0,
        "weight_decay": 1.0,
    }
    try:
        npl0.fit(npl0.build_model(MODEL), images, labels, checkpoint=checkpoint, **recipe)
    except npl0.DivergedError as error:
        with np.load(checkpoint) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name.startswith("network.")}
        assert len(kept) > 4 and all(np.isfinite(array).all() for array in kept.values())
        return str(error).partition(")")[0] + "); the checkpoint of the epoch before is whole"
    raise AssertionError("the training did not diverge")


@contextlib.contextmanager
def the_same_noise() -> Iterator[None]:
    """Draw float32 noise for float64 gates too, so that both trainings see the same gates."""
    draw = rng.generator

    class Float32:
        def __init__(self, *key: Any) -> None:
            self._generator = draw(*key)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._generator, name)

        def random(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            return self._generator.random(shape, dtype=np.float32).astype(dtype)

    with patch.object(rng, "generator", Float32):
        yield


def float32_against_float64(images: np.ndarray, labels: np.ndarray, epochs: int) -> list[list[str]]:
    """Train in both precisions with the same draws; return a row per epoch with the differences of loss and masks."""
    rows, networks = {}, {}
    with the_same_noise():
        for dtype in ("float32", "float64"):
            networks[dtype] = network = npl0.build_model(MODEL, dtype=dtype)
            pruner = npl0.L0(network, l0_lambda=30, gate_learning_rate=0.1, ramp_epochs=0)
            rows[dtype] = npl0.fit(network, images, labels, pruner, **{**RECIPE, "epochs": epochs})
            pruner.finalise()
    found = []
    for one, other in zip(*rows.values(), strict=True):
        difference, masks = abs(one.loss / other.loss - 1), abs(one.kept - other.kept)
        assert difference < 1e-3 * one.epoch and masks <= 1e-3 * other.kept, (one, other)
        found.append([str(one.epoch), f"{other.loss:.6f}", f"{difference:.1e}", f"{other.kept:,}", str(masks)])
    same = (networks["float32"].predict(images).argmax(1) == networks["float64"].predict(images).argmax(1)).mean()
    assert same > 0.995, same
    return [*found, ["answers that agree", f"{same:.2%}", "", "", ""]]


class Meter(npl0.Observer):
    """Notes memory and open files after every epoch."""

    def __init__(self) -> None:
        self.memory, self.files = [], []

    def after_epoch(self, progress, row) -> None:
        self.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        self.files.append(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)


def many_epochs(epochs: int) -> str:
    """Train a tiny network for many epochs; return how much memory and how many file handles it gained."""
    images = np.random.default_rng(0).random((64, 20), np.float32)
    network = npl0.Network([npl0.Linear(20, 10), npl0.ReLU(), npl0.Linear(10, 4)], (20,))
    pruner, meter = npl0.L0(network), Meter()
    stage = npl0.Stage("train", npl0.Recipe(epochs=epochs, batch_size=32))
    optimizer = stage.begin(pruner, len(images))
    with npl0.Workers(2) as workers:
        npl0.train_stage(stage, network, pruner, optimizer, images, np.arange(64) % 4, workers, None, meter)
    early = epochs // 10
    gained, files = meter.memory[-1] - meter.memory[early], meter.files[-1] - meter.files[early]
    assert gained < 2 and files == 0, (gained, files)
    return f"{epochs:,} epochs: {gained:.1f} MB and {files} file handles gained after the first {early}"


def main() -> int:
    """Run every case, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="MNIST images to train on (default 5000)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="epochs in both precisions (default 6)")
    parser.add_argument(
        "--long", type=int, default=1000, metavar="N", help="epochs of the long training (default 1000)"
    )
    options = parser.parse_args()
    data = npl0.load_dataset("mnist")
    images, labels = data.train_images[: options.images], data.train_labels[: options.images].astype(np.int64)
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for name, case in {**cases(images, labels), "a divergence in a late epoch": None}.items():
            try:
                where = (images, labels, Path(folder))
                found = keeps_the_last_checkpoint(*where) if case is None else outcome(case, *where)
            except Exception as error:
                failed, found = failed + 1, f"FAILED: {type(error).__name__}: {error}"
            rows.append([name, found])
    print(table(["case", "outcome"], rows, left=2))
    found = float32_against_float64(images, labels, options.epochs)
    print("\nfloat32 against float64")
    print(table(["epoch", "loss", "differs by", "kept", "by"], found))
    print(f"\n{many_epochs(options.long)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
