"""npl0 computes the same numbers as PyTorch. The tests need PyTorch, the extra `parity`."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npl0.cli import forms
from npl0.nn.base import Context
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Linear
from npl0.nn.models import build_model
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter, ParameterGroup
from npl0.ops import pool
from npl0.ops.loss import softmax_cross_entropy
from npl0.pruning.base import Step
from npl0.runtime.threads import Workers
from npl0.training.optimizers import SGD, Adam, Optimizer

torch = pytest.importorskip("torch", reason="the comparison needs PyTorch, the extra parity")

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def batch_first(x):
    """Return a torch tensor with the batch in front, which records gradients."""
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 0)), requires_grad=True)


def batch_last(tensor):
    """Return the array of a torch tensor with the batch at the end."""
    return np.moveaxis(tensor.detach().numpy(), 0, -1)


def compare(generator, layer, shape, function):
    """Compare forward and backward of a layer with a torch function of (x, *parameters)."""
    layer.initialise(generator, np.dtype(np.float64))
    layer.bind(shape)
    for parameter in layer.parameters:
        parameter.value = generator.standard_normal(parameter.value.shape)
    x = generator.standard_normal((*shape, 6))
    context = Context(True, prepared=layer.prepare())
    y, cache = layer.forward(x, context)
    grad_y = generator.standard_normal(y.shape)
    grad_x, grads = layer.backward(grad_y, cache, context)

    their_x = batch_first(x)
    their_parameters = [torch.tensor(parameter.value, requires_grad=True) for parameter in layer.parameters]
    their_y = function(their_x, *their_parameters)
    their_y.backward(batch_first(grad_y).detach())
    np.testing.assert_allclose(y, batch_last(their_y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(grad_x, batch_last(their_x.grad), rtol=1e-8, atol=1e-8)
    for mine, theirs in zip(grads, their_parameters, strict=True):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-8, atol=1e-8)
    assert grad_x.any()


@pytest.mark.parametrize(
    ("settings", "algorithm"),
    [
        ((5, 1, 0), "im2col"),
        ((3, 2, 1), "im2col"),
        ((2, 3, 0), "im2col"),
        ((5, 1, 0), "winograd"),
        ((3, 1, 1), "winograd"),
    ],
)
def test_convolution(generator, settings, algorithm):
    _, stride, padding = settings
    compare(
        generator,
        Conv2d(3, 4, *settings, algorithm=algorithm),
        (3, 8, 8),
        lambda x, w, b: torch.nn.functional.conv2d(x, w, b, stride, padding),
    )


def test_linear(generator):
    compare(generator, Linear(7, 4), (7,), torch.nn.functional.linear)


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_batch_norm_and_its_running_statistics(generator, shape):
    layer = BatchNorm(4)
    compare(generator, layer, shape, lambda x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, training=True))
    x = generator.standard_normal((*shape, 6))
    layer.initialise(generator, np.dtype(np.float64))
    layer.merge_statistics([layer.forward(x, Context(True))[1]])
    theirs = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    torch.nn.functional.batch_norm(batch_first(x), *theirs, training=True)
    np.testing.assert_allclose(layer.running_mean, theirs[0].numpy())
    np.testing.assert_allclose(layer.running_var, theirs[1].numpy())


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (2, 3)])
def test_pooling(generator, size, stride):
    x = generator.standard_normal((3, 7, 6, 2))
    theirs = torch.nn.functional.max_pool2d(batch_first(x), size, stride)
    np.testing.assert_array_equal(pool.maxpool_forward(x, size, stride)[0], batch_last(theirs))
    theirs = torch.nn.functional.avg_pool2d(batch_first(x), size, stride)
    np.testing.assert_allclose(pool.avgpool_forward(x, size, stride), batch_last(theirs))


def test_cross_entropy(generator):
    logits, labels = generator.standard_normal((5, 8)), generator.integers(0, 5, 8)
    loss, _, grad = softmax_cross_entropy(logits, labels)
    theirs = batch_first(logits)
    their_loss = torch.nn.functional.cross_entropy(theirs, torch.tensor(labels))
    their_loss.backward()
    assert loss == pytest.approx(their_loss.item(), rel=1e-12)
    np.testing.assert_allclose(grad, batch_last(theirs.grad), rtol=1e-9)


@pytest.mark.parametrize("name", ["adam", "sgd", "nesterov"])
def test_optimisers(generator, workers, name):
    mine = Parameter(generator.standard_normal(30), "weight", "w")
    theirs = torch.tensor(mine.value.copy(), requires_grad=True)
    if name == "adam":
        rule, their_optimizer = Adam(), torch.optim.Adam([theirs], 0.1, weight_decay=0.02)
    else:
        settings = {"momentum": 0.9, "nesterov": name == "nesterov"}
        rule, their_optimizer = SGD(**settings), torch.optim.SGD([theirs], 0.1, weight_decay=0.02, **settings)
    optimizer = Optimizer([ParameterGroup([mine], 0.1, 0.02)], rule)
    for number in range(5):
        mine.grad[...] = generator.standard_normal(30)
        theirs.grad = torch.tensor(mine.grad.copy())
        optimizer.step(workers, Step(number))
        their_optimizer.step()
    np.testing.assert_allclose(mine.value, theirs.detach().numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("name", "width"), [("lenet5", 1.0), ("lenet300", 1.0), ("vgg16", 0.0625)])
def test_the_benchmark_gives_torch_the_same_model(generator, monkeypatch, name, width):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import torch_step

    mine, theirs = build_model(name, width=width, dtype=np.float64), torch_step.build_model(name, width).double()
    with torch.no_grad():
        for parameter, their_parameter in zip(mine.parameters, theirs.parameters(), strict=True):
            their_parameter.copy_(torch.tensor(parameter.value))
    images = generator.integers(0, 256, (4, *mine.input_shape), np.uint8)
    standardised, *_, logits = (y for _, y in mine.activations(images))
    np.testing.assert_allclose(logits, batch_last(theirs(batch_first(standardised))), rtol=1e-8, atol=1e-8)
    assert logits.any()


@pytest.mark.parametrize("variant", ["plain", "gated"])
def test_the_benchmark_takes_a_step_of_torch(monkeypatch, variant):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import step_setting
    from torch_step import torch_step

    monkeypatch.setitem(step_setting.WORKLOADS, "lenet300", replace(step_setting.LENET, images=256))
    setting = step_setting.Setting("lenet300", variant, threads=1, batch=128, width=1.0)
    step = torch_step(setting, fused=False, channels_last=False)
    losses = [step(i) for i in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
@pytest.mark.parametrize("way", ["", "frozen"])
def test_the_networks_of_bench(generator, layout, way):
    for name in ("lenet5", "lenet300", "vgg16"):
        network = build_model(name, width=0.1 if name == "vgg16" else 1)
        for layer in network.layers:
            for parameter in layer.parameters:
                parameter.value += 0.05 * generator.standard_normal(parameter.value.shape).astype(np.float32)
        images = generator.integers(0, 256, (5, *network.input_shape)).astype(np.uint8)
        with warnings.catch_warnings():
            predict, feed, macs, weight_bytes = forms._torch(layout, way, network, Workers(1))
            logits = predict(feed(images)).numpy()
        expected = network.predict(images)
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        assert macs == sum(row.macs for row in network.summary())
        assert weight_bytes >= 4 * sum(weight.size for weight in network.weights)
