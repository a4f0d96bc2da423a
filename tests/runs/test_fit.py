"""The public interface: its names, `fit`, and the ten lines that its documentation promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.cli import run
from npl0.runs import fit as api

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def data():
    return npl0.load_dataset("synthetic")


def small_network(data, seed=0):
    layers = [npl0.Standardise(data.mean, data.std), npl0.Flatten(), npl0.Linear(784, 20), npl0.ReLU()]
    return npl0.Network([*layers, npl0.Linear(20, 10)], (1, 28, 28), seed=seed)


# ---- names ----------------------------------------------------------------------------------------------------------


def test_every_public_name_is_there():
    assert npl0.__all__ == api.__all__ == sorted(set(api.__all__), key=api.__all__.index)
    for name in npl0.__all__:
        assert getattr(npl0, name) is getattr(api, name)
    assert set(npl0.__all__) <= set(dir(npl0))
    with pytest.raises(AttributeError, match="module 'npl0' has no attribute 'nothing'"):
        npl0.nothing  # noqa: B018


def test_importing_the_package_loads_no_arrays():
    code = "import npl0, sys; print(npl0.__version__, [m for m in ('numpy', 'numba', 'npl0.runs.fit') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out == f"{npl0.__version__} []\n"


# ---- fit ------------------------------------------------------------------------------------------------------------


def test_the_ten_lines_run_as_written(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", api.__doc__, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "npl0.runs.fit.__doc__", "exec"), names)
    assert names["accuracy"] > 0.85
    assert 0 < npl0.density(names["masks"]) < 0.2
    assert re.match(r"\d\d\.\d% of the test images are right with \d+\.\d% of the weights\n", capsys.readouterr().out)
    # What was pruned stayed zero through the retraining, and the stored network is the pruned one.
    stored, _ = npl0.load_model("pruned.npz")
    for weight in stored.weights:
        assert not weight.value[~names["masks"][weight.name]].any()
        assert weight.value.any()
    images = names["data"].test_images
    np.testing.assert_array_equal(stored.predict(images), names["network"].predict(images))


def test_fit_gives_the_bits_of_the_command(tmp_path):
    flags = [
        "--model",
        "lenet300",
        "--data",
        "synthetic",
        "--epochs",
        "2",
        "--retrain-epochs",
        "1",
        "--seed",
        "3",
        "--shift",
        "1",
        "--flip",
        "0.5",
        "--warmup-epochs",
        "0.5",
    ]
    flags += ["--learning-rate", "1e-3", "--schedule", "cosine"]
    gates = ["--gate-learning-rate", "0.4", "--ramp-epochs", "0", "--l0-lambda", "1"]
    assert run.main([*flags, *gates, "--threads", "1", "--quiet", "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    data = npl0.load_dataset("synthetic")
    train = (data.train_images, data.train_labels)
    network = npl0.build_model("lenet300", mean=data.mean, std=data.std, seed=3)
    pruner = npl0.L0(network, len(train[0]), seed=3, l0_lambda=1, gate_learning_rate=0.4)
    settings = {"seed": 3, "shift": 1, "flip": 0.5, "threads": 2, "quiet": True}
    npl0.fit(network, *train, pruner, epochs=2, warmup_epochs=0.5, **settings)
    masks = pruner.finalise()
    npl0.fit(network, *train, npl0.FixedMask(network, masks), epochs=1, **settings)
    stored, _ = npl0.load_model(folder)
    for name, value in stored.state().items():
        assert value.tobytes() == network.state()[name].tobytes(), name
    result = json.loads((folder / "result.json").read_text())
    assert npl0.density(masks) == result["weights_kept"]["pruned"] / 266_200 < 0.9


def test_fit_without_a_pruner_trains_and_tells_every_epoch(data, capsys):
    network = small_network(data)
    validation = (data.test_images, data.test_labels)
    train = (data.train_images, data.train_labels)
    rows = npl0.fit(network, *train, epochs=3, learning_rate=1e-2, threads=1, validation=validation)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert rows[2].loss < rows[0].loss
    accuracy = (network.predict(data.test_images).argmax(axis=1) == data.test_labels).mean()
    assert rows[2].validation_accuracy == accuracy > 0.7
    assert "train: 100%" in capsys.readouterr().err


def test_fit_shows_nothing_if_quiet(data, capfd):
    npl0.fit(small_network(data), data.train_images[:50], data.train_labels[:50], epochs=1, threads=1, quiet=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_fit_takes_images_and_labels_of_any_number_type(data, dtype):
    layers = [npl0.Flatten(), npl0.Linear(784, 10)]
    images, labels = (data.train_images[:256] // 64).astype(dtype), data.train_labels[:256].astype(np.uint8)
    network = npl0.Network(layers, (1, 28, 28))
    before = network.predict(images.astype(np.float32))
    rows = npl0.fit(network, images, labels, epochs=3, threads=1, quiet=True)
    assert rows[-1].loss < rows[0].loss
    assert not np.array_equal(network.predict(images.astype(np.float32)), before)


def test_an_interrupted_fit_leaves_weights_to_test_with(data, monkeypatch):
    network = small_network(data)
    pruner = npl0.L0(network, n_train=2000)
    steps = iter(range(5))

    def interrupt(self, progress, loss):
        if next(steps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(api._Watcher, "after_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        npl0.fit(network, data.train_images, data.train_labels, pruner, epochs=1, threads=2, quiet=True)
    weights = [weight.value.copy() for weight in network.weights]
    pruner.write_test_weights()
    for weight, value in zip(network.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.value, value)
    assert pruner.workers is None


_GOOD = {"images": np.full((4, 1, 28, 28), 200, np.uint8), "labels": np.arange(4)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": [[1]]}, r"images: images must be a NumPy array of numbers, not list"),
        ({"images": _GOOD["images"][:, 0]}, r"images: images must have shape \(N, 1, 28, 28\), not \(4, 28, 28\)"),
        ({"images": _GOOD["images"][:0], "labels": _GOOD["labels"][:0]}, r"images: there is none"),
        ({"images": np.full((4, 1, 28, 28), np.nan)}, r"images: images contain NaN or infinity"),
        (
            {"images": np.full((4, 1, 28, 28), 0.5)},
            r"largest value of the images is 0\.5.*multiply by 255",
        ),
        ({"labels": [0, 1, 2, 3]}, r"labels must be a NumPy array of 4 integers, one an image, not list"),
        ({"labels": np.arange(3)}, r"labels must be a NumPy array of 4 integers, one an image, not int64 \(3,\)"),
        ({"labels": np.ones(4)}, r"labels must be .* not float64 \(4,\)"),
        ({"labels": np.eye(4, dtype=int)}, r"one-hot labels become integers by labels\.argmax\(axis=1\)"),
        ({"labels": np.array([0, 1, 2, 10])}, r"labels must lie in 0\.\.9, found 0 to 10"),
        ({"labels": np.array([0, 1, -2, 1])}, r"labels must lie in 0\.\.9, found -2 to 1"),
        ({"validation": (_GOOD["images"], np.arange(3))}, r"validation labels must be"),
        ({"validation": (_GOOD["images"][..., :5], np.arange(4))}, r"validation images: images must have shape"),
        ({"epochs": -1}, r"epochs = -1 is out of range: it must be 0 to 100000"),
        ({"batch_size": 0}, r"batch_size = 0 is out of range"),
        ({"learning_rate": 0}, r"learning_rate = 0\.0 is out of range: it must be above 0"),
        ({"optimizer": "adma"}, r"optimizer 'adma' is unknown: did you mean 'adam'\?"),
        ({"schedule": "cos"}, r"schedule 'cos' is unknown"),
        ({"seed": -1}, r"seed = -1 is out of range"),
        ({"threads": 0}, r"threads must be a whole number of at least 1, not 0"),
    ],
)
def test_fit_refuses_what_is_not_sound_before_any_work(data, changed, message):
    network = small_network(data)
    before = network.weights[0].value.copy()
    with pytest.raises(ValueError, match=message):
        npl0.fit(network, **{**_GOOD, "quiet": True, **changed})
    np.testing.assert_array_equal(network.weights[0].value, before)


@pytest.mark.parametrize(("n", "batch_size", "shard_size"), [(4, 1, 64), (5, 4, 64), (1, 8, 64), (3, 8, 1), (9, 8, 2)])
def test_fit_refuses_batches_that_leave_a_batch_norm_one_example(n, batch_size, shard_size):
    layers = [npl0.Linear(6, 3), npl0.BatchNorm(3), npl0.ReLU(), npl0.Linear(3, 2)]
    network = npl0.Network(layers, (6,), shard_size=shard_size)
    before = network.weights[0].value.copy()
    with pytest.raises(ValueError, match=rf"bn1 of network cannot normalise a single image: of {n} training images"):
        npl0.fit(network, np.ones((n, 6), np.float32), np.arange(n) % 2, batch_size=batch_size, quiet=True)
    np.testing.assert_array_equal(network.weights[0].value, before)


@pytest.mark.parametrize(("n", "batch_size", "shard_size"), [(4, 2, 64), (6, 4, 64), (5, 8, 2), (2, 8, 1)])
def test_fit_takes_batches_that_leave_no_batch_norm_one_example(n, batch_size, shard_size):
    layers = [npl0.Linear(6, 3), npl0.BatchNorm(3), npl0.ReLU(), npl0.Linear(3, 2)]
    network = npl0.Network(layers, (6,), shard_size=shard_size)
    images = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    assert len(npl0.fit(network, images, np.arange(n) % 2, epochs=1, batch_size=batch_size, quiet=True)) == 1


def test_fit_takes_single_images_where_a_batch_norm_has_their_pixels():
    layers = [npl0.Conv2d(1, 3, 3), npl0.BatchNorm(3), npl0.Flatten(), npl0.Linear(48, 2)]
    network = npl0.Network(layers, (1, 6, 6))
    images = np.random.default_rng(0).normal(size=(3, 1, 6, 6)).astype(np.float32)
    assert len(npl0.fit(network, images, np.arange(3) % 2, epochs=1, batch_size=1, quiet=True)) == 1


def test_fit_refuses_another_networks_pruner(data):
    pruner = npl0.Magnitude(small_network(data))
    with pytest.raises(ValueError, match="the pruner was made for another network"):
        npl0.fit(small_network(data), **_GOOD, pruner=pruner)


@pytest.mark.parametrize("change", ["shift", "flip"])
def test_fit_augments_nothing_but_images(change):
    network = npl0.Network([npl0.Linear(4, 2)], (4,))
    with pytest.raises(
        ValueError, match=rf"{change} changes images of shape \(C, H, W\), but the network takes \(4,\); use 0"
    ):
        npl0.fit(network, np.ones((3, 4), np.float32), np.zeros(3, int), **{change: 1})


def test_fit_refuses_a_network_that_does_not_end_in_classes():
    network = npl0.Network([npl0.Conv2d(1, 2, 5)], (1, 28, 28))
    with pytest.raises(ValueError, match=r"the network gives \(2, 24, 24\) an image"):
        npl0.fit(network, **_GOOD)
