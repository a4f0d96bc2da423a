"""`fit`: it gives the bits of the command, resumes from checkpoints, stops on Ctrl-C, and refuses bad arguments."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import npl0
from npl0.cli import run as run_module
from npl0.runs.fit import _Follower

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data():
    return npl0.load_dataset("synthetic")


def small_network(data, seed=0):
    layers = [npl0.Standardise(data.mean, data.std), npl0.Flatten(), npl0.Linear(784, 20), npl0.ReLU()]
    return npl0.Network([*layers, npl0.Linear(20, 10)], (1, 28, 28), seed=seed)


def test_fit_gives_the_bits_of_the_command(tmp_path):
    text = "--model lenet300 --data synthetic --epochs 2 --retrain-epochs 1 --seed 3 --shift 1 --flip 0.5"
    flags = [*text.split(), "--warmup-epochs", "0.5"]
    flags += ["--learning-rate", "1e-3", "--schedule", "cosine"]
    gates = ["--gate-learning-rate", "0.4", "--ramp-epochs", "0", "--l0-lambda", "1"]
    assert run_module.main([*flags, *gates, "--threads", "1", "--quiet", "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    data = npl0.load_dataset("synthetic")
    train = (data.train_images, data.train_labels)
    network = npl0.build_model("lenet300", mean=data.mean, std=data.std, seed=3)
    pruner = npl0.L0(network, l0_lambda=1, gate_learning_rate=0.4, ramp_epochs=0)
    settings = {"seed": 3, "shift": 1, "flip": 0.5, "threads": 2, "quiet": True}
    settings |= {"learning_rate": 1e-3, "schedule": "cosine"}
    npl0.fit(network, *train, pruner, epochs=2, warmup_epochs=0.5, **settings)
    masks = pruner.finalise()
    npl0.fit(network, *train, npl0.FixedMask(network, masks), epochs=1, **settings)
    stored = npl0.load_model(folder)
    for name, value in stored.state().items():
        assert value.tobytes() == network.state()[name].tobytes(), name
    result = json.loads((folder / "result.json").read_text())
    assert npl0.density(masks) == result["weights_kept"]["pruned"] / 266_200 < 0.9


def test_fit_without_a_pruner_trains_and_reports_every_epoch(data, capsys):
    network = small_network(data)
    validation = (data.test_images, data.test_labels)
    train = (data.train_images, data.train_labels)
    rows = npl0.fit(network, *train, epochs=3, learning_rate=1e-2, threads=1, validation=validation)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert rows[2].loss < rows[0].loss
    accuracy = (network.predict(data.test_images).argmax(axis=1) == data.test_labels).mean()
    assert rows[2].validation_accuracy == accuracy > 0.7
    assert "train epoch 3/3: loss" in capsys.readouterr().err


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


# ---- interrupts and checkpoints -------------------------------------------------------------------------------------


@pytest.fixture
def stop_after(monkeypatch):
    """Set the stop event of `fit`, as Ctrl-C does, after so many steps, or right after an epoch."""

    def set_stop(steps=None, epoch=None):
        original_step, original_epoch, count = _Follower.after_step, _Follower.after_epoch, itertools.count(1)

        def after_step(self, progress, loss):
            if next(count) == steps:
                self.stop.set()
            original_step(self, progress, loss)

        def after_epoch(self, progress, row):
            original_epoch(self, progress, row)
            if row.epoch == epoch:
                self.stop.set()

        monkeypatch.setattr(_Follower, "after_step", after_step)
        monkeypatch.setattr(_Follower, "after_epoch", after_epoch)

    yield set_stop


def bits(network, pruner):
    """Return the bytes of the network and of the pruner."""
    return {name: array.tobytes() for holder in (network, pruner) for name, array in holder.state().items()}


def untimed(rows):
    """Return what of the rows does not depend on the clock."""
    return [(row.epoch, row.loss, row.penalty, row.train_accuracy, row.expected_l0, row.kept) for row in rows]


@pytest.mark.parametrize("stop", [{"steps": 3}, {"steps": 8}, {"epoch": 1}, {"epoch": 3}], ids=str)
@pytest.mark.parametrize("method", [npl0.L0, npl0.Magnitude])
def test_an_interrupted_fit_resumes_to_the_same_bits(data, tmp_path, monkeypatch, capsys, stop_after, method, stop):
    images, labels, path = data.train_images[:500], data.train_labels[:500], tmp_path / "fit.npz"
    settings = {"epochs": 3, "batch_size": 64, "schedule": "one-cycle", "threads": 2, "seed": 4, "quiet": True}

    def train(**more):
        network = small_network(data)
        pruner = method(network)
        return network, pruner, lambda: npl0.fit(network, images, labels, pruner, **settings, **more)

    network, pruner, fit = train()
    rows = fit()
    whole = bits(network, pruner)
    with monkeypatch.context():
        stop_after(**stop)
        stopped, its_pruner, fit = train(checkpoint=path)
        with pytest.raises(SystemExit) as exit_of:
            fit()
        monkeypatch.undo()
    assert exit_of.value.code == 130 and path.exists()
    assert capsys.readouterr().err.endswith(f"; the same call resumes from {path}\n")
    # The network holds the weights it is to be tested with.
    weights = [weight.value.copy() for weight in stopped.weights]
    its_pruner.write_test_weights()
    for weight, value in zip(stopped.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.value, value)
    assert its_pruner.workers is None
    resumed, its_pruner, fit = train(checkpoint=path)
    assert untimed(fit()) == untimed(rows)
    assert bits(resumed, its_pruner) == whole


def test_a_finished_fit_returns_its_rows_at_once(data, tmp_path, monkeypatch):
    train, path = (data.train_images[:200], data.train_labels[:200]), tmp_path / "fit.npz"
    first, second = small_network(data), small_network(data)
    rows = npl0.fit(first, *train, epochs=2, checkpoint=path, quiet=True)
    monkeypatch.setattr(npl0.Network, "loss_and_gradients", lambda *_: pytest.fail("a step was taken"))
    assert npl0.fit(second, *train, epochs=2, checkpoint=path, quiet=True) == rows
    assert bits(first, npl0.Pruner(first)) == bits(second, npl0.Pruner(second))


def test_a_checkpoint_of_another_call_is_refused(data, tmp_path):
    images, labels, path = data.train_images[:200], data.train_labels[:200], tmp_path / "fit.npz"

    def fit(network=None, images=images, pruner=lambda network: npl0.L0(network, l0_lambda=2), **settings):
        network = network or small_network(data)
        settings = {"epochs": 1, "checkpoint": path, "quiet": True, **settings}
        return npl0.fit(network, images, labels, pruner(network), **settings)

    fit()
    content = path.read_bytes()
    wide = npl0.Network([npl0.Standardise(data.mean, data.std), npl0.Flatten(), npl0.Linear(784, 10)], (1, 28, 28))
    layers = [npl0.Standardise(data.mean, data.std), npl0.Flatten(), npl0.Dropout(0.1), npl0.Linear(784, 20)]
    dropout = npl0.Network([*layers, npl0.ReLU(), npl0.Linear(20, 10)], (1, 28, 28))
    other = "belongs to a training with other settings; delete it or name another file"
    for changed, message in [
        ({"epochs": 2}, other),
        ({"seed": 1}, other),
        ({"pruner": npl0.L0}, other),
        ({"pruner": npl0.Magnitude}, other),
        ({"network": wide}, other),
        ({"network": dropout}, other),
        ({"images": 255 - images}, "was made with other data; delete it or name another file"),
    ]:
        with pytest.raises(npl0.CheckpointError, match=message):
            fit(**changed)
        assert path.read_bytes() == content
    path.write_bytes(content[:-50])
    with pytest.raises(npl0.CheckpointError, match="is damaged"):
        fit()


CTRL_C = """
import signal, sys
import npl0

data = npl0.load_dataset("synthetic")
network = npl0.build_model("lenet300", mean=data.mean, std=data.std)
print("ready", flush=True)
npl0.fit(network, data.train_images, data.train_labels, npl0.L0(network), epochs=1000, checkpoint=sys.argv[1])
print("not reached")
"""


def test_ctrl_c_ends_the_program_without_a_traceback(tmp_path):
    path = tmp_path / "fit.npz"
    command = [sys.executable, "-c", CTRL_C, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    # The bar appears once `fit` has taken over the signal.
    while "epoch 1" not in process.stderr.read(20):
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err and f"; the same call resumes from {path}\n" in err
    assert path.exists()


def test_fit_works_in_a_thread_of_the_users_program(data):
    networks, rows = [small_network(data) for _ in range(2)], {}

    def fit(network):
        rows[network] = npl0.fit(network, data.train_images[:200], data.train_labels[:200], epochs=1, quiet=True)

    fit(networks[0])
    thread = threading.Thread(target=fit, args=(networks[1],))
    thread.start()
    thread.join()
    assert rows[networks[0]][0].loss == rows[networks[1]][0].loss


def test_fit_gives_the_signals_back(data):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    npl0.fit(small_network(data), data.train_images[:50], data.train_labels[:50], epochs=1, quiet=True)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# ---- bad arguments --------------------------------------------------------------------------------------------------

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
            r"images: the values of image 0 range from 0\.5 to 0\.5, but .* values in 0\.\.255; multiply 0\.\.1 by 255",
        ),
        ({"labels": [0, 1, 2, 3]}, r"labels must be a NumPy array of 4 integers, one per image, not list"),
        ({"labels": np.arange(3)}, r"labels must be a NumPy array of 4 integers, one per image, not int64 \(3,\)"),
        ({"labels": np.ones(4)}, r"labels must be .* not float64 \(4,\)"),
        ({"labels": np.eye(4, dtype=int)}, r"one-hot labels become integers by labels\.argmax\(axis=1\)"),
        ({"labels": np.array([0, 1, 2, 10])}, r"labels has 10 at index 3, outside 0\.\.9 \(1 such labels\)"),
        ({"labels": np.array([0, 1, -2, 1])}, r"labels has -2 at index 2, outside"),
        ({"validation": (_GOOD["images"], np.arange(3))}, r"validation labels must be"),
        ({"validation": (_GOOD["images"], np.arange(4), 3)}, r"a pair \(images, labels\), not ndarray, ndarray, int$"),
        ({"validation": _GOOD["images"]}, r"validation examples must be a pair \(images, labels\), not ndarray$"),
        ({"validation": (_GOOD["images"][..., :5], np.arange(4))}, r"validation images: images must have shape"),
        ({"epochs": -1}, r"epochs = -1 is out of range: it must be 0 to 100000"),
        ({"batch_size": 0}, r"batch_size = 0 is out of range"),
        ({"learning_rate": 0}, r"learning_rate = 0\.0 is out of range: it must be above 0"),
        ({"optimizer": "adma"}, r"optimizer 'adma' is unknown: did you mean 'adam'\?"),
        ({"schedule": "cos"}, r"schedule 'cos' is unknown"),
        ({"seed": -1}, r"seed = -1 is out of range"),
        ({"seed": 1.5}, r"seed = 1.5 is out of range: it must be a whole number of at least 0"),
        ({"threads": 0}, r"threads must be a whole number of at least 1, not 0"),
    ],
)
def test_fit_refuses_bad_arguments_before_any_work(data, changed, message):
    network = small_network(data)
    before = network.weights[0].value.copy()
    with pytest.raises(ValueError, match=message):
        npl0.fit(network, **{**_GOOD, "quiet": True, **changed})
    np.testing.assert_array_equal(network.weights[0].value, before)


@pytest.mark.parametrize(
    ("n", "batch_size", "shard_size"), [(4, 1, 64), (5, 4, 64), (1, 8, 64), (3, 8, 1), (9, 8, 2), (5, 8, 2)]
)
def test_fit_refuses_batches_that_leave_a_batch_norm_one_example(n, batch_size, shard_size):
    layers = [npl0.Linear(6, 3), npl0.BatchNorm(3), npl0.ReLU(), npl0.Linear(3, 2)]
    network = npl0.Network(layers, (6,), shard_size=shard_size)
    before = network.weights[0].value.copy()
    with pytest.raises(ValueError, match=rf"bn1 of network cannot normalise a single image: {n} training images"):
        npl0.fit(network, np.ones((n, 6), np.float32), np.arange(n) % 2, batch_size=batch_size, quiet=True)
    np.testing.assert_array_equal(network.weights[0].value, before)


@pytest.mark.parametrize(("n", "batch_size", "shard_size"), [(4, 2, 64), (6, 4, 64), (5, 8, 3), (65, 80, 64)])
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
    with pytest.raises(ValueError, match=r"the network outputs \(2, 24, 24\) per image"):
        npl0.fit(network, **_GOOD)


# ---- pruned networks ------------------------------------------------------------------------------------------------


def pruned_network(data, path):
    """Prune a network to a twentieth, save it, and return what `load_model` makes of the file."""
    network = small_network(data)
    npl0.Magnitude(network, compression=20).finalise()
    npl0.save_model(path, network, data)
    return npl0.load_model(path)


def test_a_loaded_network_keeps_its_zeros_under_a_fixed_mask(data, tmp_path):
    network = pruned_network(data, tmp_path / "m.npz")
    masks = npl0.masks_of(network)
    assert npl0.density(masks) == pytest.approx(1 / 20, rel=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        npl0.fit(network, data.train_images, data.train_labels, npl0.FixedMask(network), epochs=1, quiet=True)
    for name, mask in npl0.masks_of(network).items():
        np.testing.assert_array_equal(mask, masks[name])


@pytest.mark.parametrize("make", [lambda network: None, npl0.Magnitude, npl0.L0])
def test_fit_says_that_it_changes_the_zeros_of_a_pruned_network(data, tmp_path, make):
    network = pruned_network(data, tmp_path / "m.npz")
    train = (data.train_images[:200], data.train_labels[:200])
    message = r"15,086 of 15,880 weights are exactly 0.*train with the pruner npl0\.FixedMask\(network\)"
    with pytest.warns(npl0.PruningWarning, match=message) as caught:
        npl0.fit(network, *train, make(network), epochs=1, quiet=True)
    assert [str(w.message) for w in caught if "exactly 0" in str(w.message)] == [str(caught[0].message)]
    assert caught[0].filename == __file__


def test_a_fixed_mask_does_not_write_to_the_masks_it_is_given(data):
    network = small_network(data)
    masks = npl0.masks_of(network)
    pruner = npl0.FixedMask(network, masks)
    pruner.load_state({name: np.zeros_like(mask) for name, mask in masks.items()})
    assert npl0.density(masks) == 1 and npl0.density(pruner.masks()) == 0
