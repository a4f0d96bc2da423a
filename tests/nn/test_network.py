"""Networks: shards, threads, the border with the outside, state; and the models."""

import numpy as np
import pytest

from npl0 import nn
from npl0.nn import conv
from npl0.runtime.scratch import Memory, Scratch
from npl0.runtime.threads import Workers
from npl0.training.metrics import count_correct


def build(dtype=np.float32, shard_size=4, seed=0, dropout=0.0, norm=True):
    """Build a small network with every kind of layer; without batch norm its gradients do not depend on the shards."""
    layers = [
        nn.Standardise((0.4,), (0.3,)),
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        *([nn.BatchNorm(3)] if norm else []),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(48, 5),
    ]
    return nn.Network(layers, (1, 8, 8), "small", seed, dtype, shard_size)


@pytest.fixture
def batch(generator):
    """Eleven images and labels: shards of 4, 4 and 3."""
    return generator.integers(0, 256, (11, 1, 8, 8)).astype(np.uint8), generator.integers(0, 5, 11)


def gradients(network):
    """Copy the gradients of a network."""
    return {parameter.name: parameter.grad.copy() for parameter in network.parameters}


def test_two_threads_give_the_bits_of_one(batch):
    results = []
    for threads in (1, 2):
        network = build(dropout=0.4)
        with Workers(threads) as workers:
            # The second step runs in scratch memory that is already there.
            losses = [network.loss_and_gradients(*batch, workers, (0, step)) for step in range(2)]
            results.append((losses, gradients(network), network.predict(batch[0], workers), network.state()))
    (losses, grads, logits, state), other = results
    assert losses == other[0]
    np.testing.assert_array_equal(logits, other[2])
    for mine, its in ((grads, other[1]), (state, other[3])):
        for name, array in mine.items():
            np.testing.assert_array_equal(array, its[name])
    assert all(grad.any() for grad in grads.values())


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64])
def test_a_prediction_of_few_shards_has_the_bits_of_one_thread(n, generator):
    network, images = nn.build_model("lenet5"), generator.integers(0, 256, (n, 1, 28, 28)).astype(np.uint8)
    with Workers(3) as workers:
        np.testing.assert_array_equal(network.predict(images, workers), network.predict(images))
    sizes = [part.stop - part.start for part in network.shards(n, least=min(2, n // 16))]
    assert sum(sizes) == n and len(sizes) == min(n, 1 + (n >= 32)) and max(sizes, default=0) - min(sizes, default=0) < 2


def test_weights_are_not_transformed_to_predict_few_pixels(generator, monkeypatch):
    transformed = []
    of_weight = conv.winograd.transform_weight
    monkeypatch.setattr(
        conv.winograd, "transform_weight", lambda w, *rest: transformed.append(w) or of_weight(w, *rest)
    )
    images = generator.integers(0, 256, (8, 1, 28, 28)).astype(np.uint8)
    by_itself, always = (nn.build_model("lenet5", conv=name) for name in ("auto", "winograd"))
    # The second convolution has 64 pixels an image; the first has one channel, too few for Winograd.
    expected = always.predict(images)
    assert transformed == [layer.weight.value for layer in always.layers if layer.kind == "conv"]
    for n in (1, 7):
        del transformed[:]
        np.testing.assert_allclose(by_itself.predict(images[:n]), expected[:n], rtol=1e-4, atol=1e-5)
        assert transformed == []
    np.testing.assert_allclose(by_itself.predict(images), expected, rtol=1e-4, atol=1e-5)
    assert len(transformed) == 1
    always.predict(images[:1])
    assert len(transformed) == 3


def test_shards_add_up_to_the_whole(batch, workers):
    results = []
    for shard_size in (4, 11, 64, 1):
        network = build(np.float64, shard_size, norm=False)
        results.append(
            (*network.loss_and_gradients(*batch, workers, (0,)), gradients(network), network.predict(batch[0]))
        )
    loss, correct, grads, logits = results[0]
    for other in results[1:]:
        assert loss == pytest.approx(other[0], rel=1e-12)
        assert correct == other[1]
        np.testing.assert_allclose(logits, other[3], rtol=1e-10)
        for name, grad in grads.items():
            np.testing.assert_allclose(grad, other[2][name], rtol=1e-9, atol=1e-12)
            assert grad.any()


def test_loss_and_hits_are_those_of_the_predictions(batch, workers):
    network = build(np.float64, norm=False)
    images, labels = batch
    loss, correct = network.loss_and_gradients(images, labels, workers, (0,))
    logits = network.predict(images, workers)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert loss == pytest.approx(-log_softmax[np.arange(11), labels].mean())
    assert correct == (logits.argmax(axis=1) == labels).sum()


def test_gradients_are_written_anew_at_every_step(batch, workers):
    network = build(norm=False)
    network.loss_and_gradients(*batch, workers, (0,))
    first = gradients(network)
    network.loss_and_gradients(*batch, workers, (0,))
    for name, grad in gradients(network).items():
        np.testing.assert_array_equal(grad, first[name])


def test_dropout_is_keyed_by_the_step(batch, workers):
    network = build(dropout=0.5, norm=False)
    losses = [network.loss_and_gradients(*batch, workers, (0, step))[0] for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


def test_predictions_are_one_row_an_image(batch):
    network = build()
    logits = network.predict(batch[0])
    assert (logits.shape, logits.dtype) == ((11, 5), np.float32)
    alone = np.concatenate([network.predict(image[None]) for image in batch[0]])
    np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-5)
    assert network.predict(batch[0][:0]).shape == (0, 5)


def test_predicting_does_not_move_the_running_statistics(batch):
    network = build()
    before = {name: array.copy() for name, array in network.state().items()}
    network.predict(batch[0])
    for name, array in network.state().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1.0]], "images must be a NumPy array of numbers, not list"),
        (np.zeros((2, 1, 8, 8), bool), "images must be a NumPy array of numbers, not bool"),
        (np.array(["a"]), "images must be a NumPy array of numbers, not <U1"),
        (np.zeros((2, 8, 8)), r"images must have shape \(N, 1, 8, 8\), not \(2, 8, 8\)"),
        (np.full((2, 1, 8, 8), np.nan), "images contain NaN or infinity; replace them before calling"),
        (np.full((2, 1, 8, 8), -np.inf, np.float32), "images contain NaN or infinity"),
    ],
)
def test_images_that_cannot_be_classified_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        build().predict(images)


@pytest.mark.parametrize(
    ("n_images", "shape", "labels", "message"),
    [
        (
            3,
            (1, 8, 8),
            np.zeros(4, int),
            r"labels must be a NumPy array of 3 integers, one per image, not int64 \(4,\)",
        ),
        (3, (1, 8, 8), np.zeros(1, int), r"not int64 \(1,\)"),
        (3, (1, 8, 8), np.zeros((3, 1), int), r"not int64 \(3, 1\)"),
        (3, (1, 8, 8), np.int64(1), "not int64"),
        (3, (1, 8, 8), 1, "not int"),
        (3, (1, 8, 8), [0, 1, 1], "not list"),
        (3, (1, 8, 8), np.array(["0", "1", "1"]), r"not <U1 \(3,\)"),
        (3, (1, 8, 8), np.eye(3, dtype=int), r"one-hot labels become integers by labels\.argmax"),
        (3, (1, 8, 8), np.array([0, -1, 1]), "labels has -1 at index 1"),
        (3, (1, 8, 8), np.array([0, 10**6, 1]), "labels has 1000000 at index 1"),
        (0, (1, 8, 8), np.zeros(0, int), "images: there is none"),
        (3, (8, 8), np.zeros(3, int), r"must have shape \(N, 1, 8, 8\), not \(3, 8, 8\)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(workers, n_images, shape, labels, message):
    images, network = np.zeros((n_images, *shape), np.uint8), build()
    with pytest.raises(ValueError, match=message):
        network.loss_and_gradients(images, labels, workers, (0,))
    with pytest.raises(ValueError, match=message):
        count_correct(network, images, labels)


def test_state_goes_round(batch, workers):
    network, other = build(seed=0), build(seed=1)
    network.loss_and_gradients(*batch, workers, (0,))
    assert not np.array_equal(network.predict(batch[0]), other.predict(batch[0]))
    other.load_state({name: array.copy() for name, array in network.state().items()})
    np.testing.assert_array_equal(network.predict(batch[0]), other.predict(batch[0]))


def test_the_state_of_another_model_is_refused():
    network = build()
    state = network.state()
    with pytest.raises(ValueError, match=r"do not belong to small: bn1\.shift do not match"):
        network.load_state({name: array for name, array in state.items() if name != "bn1.shift"})
    with pytest.raises(ValueError, match=r"do not belong to small: fc9\.weight do not match"):
        network.load_state({**state, "fc9.weight": np.zeros(1)})
    with pytest.raises(ValueError, match=r"fc1\.bias has shape \(5,\), the stored one \(1,\)"):
        network.load_state({**state, "fc1.bias": np.zeros(1)})


def test_a_state_that_is_refused_changes_nothing_and_three_of_many_names_are_told():
    network, other = build(), build(seed=1)
    before = {name: array.copy() for name, array in network.state().items()}
    with pytest.raises(ValueError, match=r"fc1\.bias has shape"):
        network.load_state({**other.state(), "fc1.bias": np.zeros(1)})
    assert not np.array_equal(before["conv1.weight"], other.state()["conv1.weight"])
    np.testing.assert_array_equal(network.state()["conv1.weight"], before["conv1.weight"])
    with pytest.raises(
        ValueError, match=r"small: bn1\.running_mean, bn1\.running_var, bn1\.scale and 1 more do not match"
    ):
        network.load_state(build(norm=False).state())


def test_layers_and_parameters_have_names():
    network = build()
    names = ["standardise1", "conv1", "relu1", "bn1", "maxpool1", "flatten1", "dropout1", "fc1"]
    assert [layer.name for layer in network.layers] == names
    parameters = ["conv1.weight", "conv1.bias", "bn1.scale", "bn1.shift", "fc1.weight", "fc1.bias"]
    assert [parameter.name for parameter in network.parameters] == parameters
    assert [weight.name for weight in network.weights] == ["conv1.weight", "fc1.weight"]
    assert {"standardise1.mean", "bn1.running_var"} < network.state().keys()


def test_activations_are_named_and_end_in_the_logits(batch):
    network = build()
    network.layers = [layer for layer in network.layers if layer.kind not in ("dropout", "bn")]
    outputs: dict[str, list] = {}
    for name, y in network.activations(batch[0]):
        outputs.setdefault(name, []).append(y.T)
    assert list(outputs) == [layer.name for layer in network.layers]
    # Every shard of the batch is looked at: the bad tensor may be in the last one.
    np.testing.assert_allclose(np.concatenate(outputs["fc1"]), network.predict(batch[0]), rtol=1e-5, atol=1e-6)
    # ReLU, which writes over its input, has got a copy.
    assert all(y.min() < 0 for y in outputs["conv1"])


@pytest.mark.parametrize(
    ("layers", "settings", "message"),
    [
        ([], {}, "a network needs at least one layer"),
        ([nn.Flatten()], {"shard_size": 0}, "shard_size must be a whole number of at least 1, not 0"),
        (
            [nn.Flatten(), nn.Linear(9, 2)],
            {},
            r"layer 2 \(Linear\): fc1 expects an input of shape \(9,\), but gets \(4,\)",
        ),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(layers, settings, message):
    with pytest.raises(ValueError, match=message):
        nn.Network(layers, (1, 2, 2), **settings)


def test_scratch_hands_out_the_same_memory_by_name():
    scratch = Scratch(Memory())
    first = scratch.kept("y", (3, 4), np.dtype(np.float32))
    assert np.shares_memory(first, scratch.kept("y", (2, 4), np.dtype(np.float32)))
    assert not np.shares_memory(first, scratch.kept("x", (3, 4), np.dtype(np.float32)))
    assert not np.shares_memory(first, scratch.kept("y", (3, 4), np.dtype(np.float64)))
    assert scratch.kept("y", (9, 9), np.dtype(np.float32)).shape == (9, 9)


def test_layers_of_a_shard_share_passing_memory_and_hand_gradients_on_in_turn():
    memory, float32 = Memory(), np.dtype(np.float32)
    one, other = Scratch(memory), Scratch(memory)
    kept = one.kept("y", (3, 4), float32)
    assert np.shares_memory(one.temporary("y", (5,), float32), other.temporary("y", (4,), float32))
    assert not np.shares_memory(kept, one.temporary("y", (5,), float32))
    gradients = [layer.grad_input((2, 3), float32) for layer in (one, other, one)]
    assert not np.shares_memory(gradients[0], gradients[1])
    assert np.shares_memory(gradients[0], gradients[2])


@pytest.mark.parametrize("name", ["lenet5", "vgg16"])
def test_the_memory_of_predictions_is_bounded_whatever_the_number_of_threads(name, monkeypatch, generator):
    network = nn.build_model(name, width=1 if name == "lenet5" else 0.05)
    images = generator.integers(0, 256, (300, *network.input_shape)).astype(np.uint8)
    network.predict(images[:1])
    logits = network.predict(images)
    size = network._work.scratch[0][0].shard.size
    for lanes in (1, 3):
        monkeypatch.setattr("npl0.nn.network.LANES_BYTES", lanes * size - 1)
        network._work.scratch = network._work.scratch[:1]
        with Workers(16) as workers:
            np.testing.assert_array_equal(network.predict(images, workers), logits)
        assert [scratch[0].shard.size > 0 for scratch in network._work.scratch] == [i < lanes for i in range(16)]
    # Nothing is kept for a backward pass, only the weights that Winograd's algorithm has transformed.
    arrays = {name for scratch in network._work.scratch for layer in scratch for name, _ in layer._own._arrays}
    assert arrays <= {"u"}


@pytest.mark.parametrize(
    ("name", "width", "weights", "biases", "macs"),
    [
        ("lenet5", 1, 430_500, 580, 2_293_000),
        ("lenet300", 1, 266_200, 410, 266_200),
        ("vgg16", 1, 14_977_728, 9_482, 313_463_808),
        ("vgg16", 0.25, 937_392, 2_378, 19_924_224),
    ],
)
def test_models_have_their_published_sizes(name, width, weights, biases, macs):
    rows = list(nn.build_model(name, width=width).summary())
    assert sum(row.weights for row in rows) == weights
    assert sum(row.biases for row in rows) == biases
    assert sum(row.macs for row in rows) == macs
    assert rows[-1].output_shape == (10,)


def test_models_are_keyed_by_the_seed(generator):
    images = generator.integers(0, 256, (2, 1, 28, 28)).astype(np.uint8)
    first, again, other = (nn.build_model("lenet300", seed=seed).predict(images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.any()


def test_both_convolutions_give_one_lenet5(generator):
    images = generator.integers(0, 256, (8, 1, 28, 28)).astype(np.uint8)
    by_im2col, by_winograd = (
        nn.build_model("lenet5", conv=algorithm, dtype=np.float64) for algorithm in ("im2col", "auto")
    )
    assert [layer.tile for layer in by_winograd.layers if layer.kind == "conv"] == [0, 4]
    np.testing.assert_allclose(by_im2col.predict(images), by_winograd.predict(images), rtol=1e-9)


def test_vgg16_is_13_convolutions_and_2_linear_layers():
    network = nn.build_vgg16(width=0.25)
    kinds = " ".join(layer.kind for layer in network.layers)
    pair, three = "conv bn relu conv bn maxpool relu", "conv bn relu conv bn relu conv bn maxpool relu"
    assert kinds == " ".join(["standardise", pair, pair, three, three, three, "flatten fc bn relu fc"])
    channels = [layer.weight.value.shape[0] for layer in network.layers if layer.kind == "conv"]
    assert channels == [16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128]
    assert [layer.name for layer in network.layers if getattr(layer, "bias", None) is not None] == ["fc2"]
    # Winograd from 14 channels on, with the small tile where 2 x 2 pixels are left.
    assert [layer.tile for layer in network.layers if layer.kind == "conv"] == [0, *[4] * 9, 2, 2, 2]


@pytest.mark.parametrize("width", [1 / 128, -1, 0, np.nan, np.inf])
def test_a_width_that_empties_a_layer_is_refused(width):
    with pytest.raises(ValueError, match=r"width = .* leaves conv1 no channel of its 64: .* above 1/128 = 0\.0078125"):
        nn.build_model("vgg16", width=width)


def test_the_smallest_width_leaves_every_layer_a_channel():
    assert nn.build_model("vgg16", width=np.nextafter(1 / 128, 1)).weights[0].value.shape == (1, 3, 3, 3)


def test_the_lenets_have_one_width():
    with pytest.raises(ValueError, match=r"width = 0\.5 is for vgg16; lenet5 has one size: leave width at 1"):
        nn.build_model("lenet5", width=0.5)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="model 'lenet6' is unknown: did you mean 'lenet5'"):
        nn.build_model("lenet6")


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.full((2, 1, 2, 2), 1.0), "image 0 range from 1 to 1"),
        (np.linspace(-1.2, 2.8, 8).reshape(2, 1, 2, 2), "image 0 range from -1.2 to 0.514286"),
        (np.arange(8, dtype=np.uint16).reshape(2, 1, 2, 2) * 50, "image 1 range from 200 to 350"),
    ],
)
def test_images_that_are_no_pixels_are_refused_before_a_standardisation(images, found):
    layers = [nn.Standardise((0.5,), (0.3,)), nn.Flatten(), nn.Linear(4, 2)]
    network = nn.Network(layers, (1, 2, 2))
    with pytest.raises(ValueError, match=rf"{found}, but the network takes pixel values in 0\.\.255"):
        network.predict(images)
    # Bytes are pixels, whatever their largest value is.
    assert network.predict(np.ones((2, 1, 2, 2), np.uint8)).shape == (2, 2)


@pytest.mark.parametrize("high", [1, 2])
def test_floats_that_somebody_has_scaled_are_refused_before_a_standardisation(high):
    network = nn.Network([nn.Standardise(0.1, 0.3), nn.Flatten(), nn.Linear(4, 2)], (1, 2, 2))
    images = np.linspace(0, high, 12, dtype=np.float32).reshape(3, 1, 2, 2)[::-1]
    with pytest.raises(
        ValueError, match=f"image 0 range from .* to {high}, but the network takes pixel values in 0..255"
    ):
        network.predict(images)
    assert network.predict((images * 100).round()).shape == (3, 2)
    # Whatever stands beside it; and dark integers are pixels.
    bright = np.full((2, 1, 2, 2), 200, np.float32)
    with pytest.raises(ValueError, match=f"image 2 range from .* to {high}, but the network takes pixel values"):
        network.predict(np.concatenate([bright, images]))
    assert network.predict(np.concatenate([bright, 0 * images])).shape == (5, 2)
    assert network.predict(np.ones((1, 1, 2, 2), int)).shape == (1, 2)
