"""The same numbers as PyTorch, where it is installed; nothing of the package needs it."""

from pathlib import Path

import numpy as np
import pytest

from npl0.nn import BatchNorm, Conv2d, Linear, build_model
from npl0.nn.layers import Context
from npl0.nn.parameter import Parameter
from npl0.ops import pool
from npl0.ops.loss import softmax_cross_entropy
from npl0.training.optimizers import SGD, Adam, ParameterGroup

torch = pytest.importorskip("torch")

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def batch_first(x):
    """Move the batch to the front, as a torch tensor that takes a gradient."""
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 0)), requires_grad=True)


def batch_last(tensor):
    """Move the batch of a torch tensor to the end."""
    return np.moveaxis(tensor.detach().numpy(), 0, -1)


def compare(generator, layer, shape, function):
    """Compare a layer with a function of (input, *parameters) of torch, forward and backward."""
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
    groups = [ParameterGroup([mine], 0.1, 0.02)]
    if name == "adam":
        optimizer, their_optimizer = Adam(groups), torch.optim.Adam([theirs], 0.1, weight_decay=0.02)
    else:
        settings = {"momentum": 0.9, "nesterov": name == "nesterov"}
        optimizer, their_optimizer = (
            SGD(groups, **settings),
            torch.optim.SGD([theirs], 0.1, weight_decay=0.02, **settings),
        )
    for _ in range(5):
        mine.grad[...] = generator.standard_normal(30)
        theirs.grad = torch.tensor(mine.grad.copy())
        optimizer.step(workers)
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
