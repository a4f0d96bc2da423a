"""Networks, pruners and data sets are copied and pickled whole; networks serve several threads, and forked children."""

import copy
import os
import pickle
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import npl0
from npl0.training.loop import Observer, Progress, Stage, train_stage

WAYS = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy, "copy": copy.copy}
RECIPE = npl0.Recipe(epochs=2, batch_size=50, learning_rate=1e-2)


@pytest.fixture(scope="module")
def data():
    return npl0.load_dataset("synthetic")


def small_network():
    layers = [npl0.Standardise(0.2, 0.3), npl0.Conv2d(1, 3, 5), npl0.BatchNorm(3), npl0.MaxPool2d(4), npl0.ReLU()]
    return npl0.Network([*layers, npl0.Flatten(), npl0.Dropout(0.1), npl0.Linear(108, 10)], (1, 28, 28))


def pruners():
    yield npl0.Pruner
    yield npl0.Magnitude
    yield npl0.FixedMask
    for gate_shape in ("weight", "filter", "input"):
        yield lambda network, gate_shape=gate_shape: npl0.L0(network, l0_lambda=5, gate_shape=gate_shape)


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
@pytest.mark.parametrize("make", list(pruners()))
def test_a_copy_in_the_middle_of_training_trains_on_to_the_same_bits(make, way, data):
    images, labels = data.train_images[:200], data.train_labels[:200]
    pruner = make(small_network())
    stage = Stage(pruner.stage, RECIPE)
    optimizer, progress, parts = stage.begin(pruner, len(images)), Progress(), []

    class Copy(Observer):
        def after_step(self, progress, loss):
            # Inside the training, whose threads the pruner knows.
            if (progress.epoch, progress.batch) == (1, 2):
                parts.append(WAYS[way]((pruner, optimizer, progress)))

    with npl0.Workers(2) as workers:
        train_stage(stage, pruner.network, pruner, optimizer, images, labels, workers, progress, Copy())
        copied, copied_optimizer, copied_progress = parts[0]
        assert copied_progress.batch == 2 and copied.workers is None and copied.network is not pruner.network
        before = pruner.network.state()["fc1.weight"].copy()
        train_stage(stage, copied.network, copied, copied_optimizer, images, labels, workers, copied_progress)
    np.testing.assert_array_equal(pruner.network.state()["fc1.weight"], before)
    for one, other in ((pruner.network, copied.network), (pruner, copied), (optimizer, copied_optimizer)):
        assert one.state().keys() == other.state().keys()
        for name, value in one.state().items():
            assert value.tobytes() == other.state()[name].tobytes(), name
    for name, mask in pruner.finalise().items():
        np.testing.assert_array_equal(copied.finalise()[name], mask)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_shares_nothing(way, data):
    network = small_network()
    network.header = {"classes": ["a"]}
    network.predict(data.test_images[:2])
    other = WAYS[way](network)
    np.testing.assert_array_equal(other.predict(data.test_images), network.predict(data.test_images))
    assert other.header == {"classes": ["a"]} and repr(other.layers) == repr(network.layers)
    assert not any(
        np.shares_memory(a, b) for a, b in zip(network.state().values(), other.state().values(), strict=True)
    )
    pruner = npl0.L0(network)
    assert WAYS[way](pruner).network is not network
    layer = network.layers[1]
    copied = WAYS[way](layer)
    assert repr(copied) == repr(layer) and (copied.weight.value == layer.weight.value).all()
    for one, another in ((copied.weight, layer.weight), (WAYS[way](layer.bias), layer.bias)):
        assert not np.shares_memory(one.value, another.value) and not np.shares_memory(one.grad, another.grad)


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_data_set_is_locked_and_has_its_fingerprint(way, data):
    small = npl0.Dataset(
        "few",
        *(getattr(data, part)[:9].copy() for part in ("train_images", "train_labels", "test_images", "test_labels")),
    )
    other = WAYS[way](small)
    assert (other.fingerprint, other.classes, other.mean) == (small.fingerprint, small.classes, small.mean)
    with pytest.raises(ValueError, match="read-only"):
        other.train_images[0] = 0
    # What was changed on the way is not passed off as the original.
    changed = pickle.dumps(small).replace(small.test_labels.tobytes(), np.zeros(9, np.int64).tobytes())
    assert pickle.loads(changed).fingerprint != small.fingerprint


def test_several_threads_predict_the_bits_of_one(data):
    network = small_network()
    alone = network.predict(data.test_images)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: network.predict(data.test_images), range(12)):
            assert found.tobytes() == alone.tobytes()


class Slow(npl0.Layer):
    """Passes its input on, once `go` is set."""

    inside, go = threading.Event(), threading.Event()

    def forward(self, x, context):
        self.inside.set()
        self.go.wait()
        return x, None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_forked_while_another_thread_predicts_can_predict(data):
    network = npl0.Network([npl0.Standardise(0.2, 0.3), Slow(), npl0.Flatten(), npl0.Linear(784, 10)], (1, 28, 28))
    images, found = data.test_images[:70], []
    thread = threading.Thread(target=lambda: found.append(network.predict(images)))
    thread.start()
    Slow.inside.wait()
    with warnings.catch_warnings():
        # Python warns of a fork in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # A child that hangs ends by this signal, not by the end of the tests.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        Slow.go.set()
        logits = network.predict(images)
        with npl0.Workers(2) as workers:
            same = logits.tobytes() == network.predict(images, workers).tobytes()
        os._exit(0 if same and np.isfinite(logits).all() else 3)
    Slow.go.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert found[0].tobytes() == network.predict(images).tobytes()
