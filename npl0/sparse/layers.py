"""Layers that compute with their kept weights alone, forward and backward, for training what pruning has left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from npl0.nn.base import Context, Layer
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, Linear
from npl0.pruning.base import Pruner
from npl0.pruning.fixed_mask import FixedMask
from npl0.runtime.kernels import kernel
from npl0.runtime.scratch import Allocator, fresh
from npl0.sparse.convolution import LANES, Taps, convolve_kernel, weight_gradient_kernel

# The densities below which it pays to compute with kept weights alone, by how a layer computes densely, for training
# and for prediction (measured by `experiments/bench_sparse.py`).
TRAINING = {"im2col": 0.9, "winograd": 0.3, "product": 0.2}
PREDICTION = {"im2col": 1.0, "winograd": 0.4, "product": 0.7}


@kernel
def add_products_kernel(w, rows, columns, x, y):
    """Add `w[t] x[columns[t]]` to y[rows[t]] for each kept weight t; with rows and columns exchanged, for Wᵀ."""
    for t in range(len(w)):
        source, target = x[columns[t]], y[rows[t]]
        for n in range(len(source)):
            target[n] += w[t] * source[n]


@kernel
def dot_products_kernel(grad_y, rows, columns, x, grad_w):
    """Fill grad_w[t] with the dot product of grad_y[rows[t]] and x[columns[t]] for each kept weight t."""
    for t in range(len(grad_w)):
        upper, lower, total = grad_y[rows[t]], x[columns[t]], grad_w.dtype.type(0)
        for n in range(len(upper)):
            total += upper[n] * lower[n]
        grad_w[t] = total


class _Sparse(Affine):
    """A layer with everything of another, its parameters too, that computes with the weights of a mask.

    The gradient of the weight holds those of the kept weights, (kept,), in the order of the dense array.
    """

    releases_input = False

    def __init__(self, layer: Affine, mask: np.ndarray) -> None:
        vars(self).update(vars(layer), algorithm_used="sparse")
        self.index = np.flatnonzero(mask)

    def kept(self, index: np.ndarray, new: Allocator, name: str = "kept") -> np.ndarray:
        """Return the weights of these places, which last until the next step."""
        weight = self.weight.value
        return np.take(weight, index, out=new.kept(name, index.shape, weight.dtype), mode="clip")


class SparseLinear(_Sparse, Linear):
    """`y = W x + b`, one kept weight after the other.

    Backward: `grad_x = Wᵀ grad_y`, and for each kept weight `grad_w[o, i] = sum over n of grad_y[o, n] x[i, n]`.
    """

    def __init__(self, layer: Linear, mask: np.ndarray) -> None:
        super().__init__(layer, mask)
        self.rows, self.columns = np.nonzero(mask)

    def prepare(self, new: Allocator = fresh, examples: int | None = None) -> Any:
        return self.kept(self.index, new)

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        y = context.new.output((self.out_features, x.shape[1]), x.dtype)
        y[...] = 0 if self.bias is None else self.bias.value[:, None]
        add_products_kernel(context.prepared, self.rows, self.columns, x, y)
        return y, x

    def backward(self, grad_y, cache, context, need_grad_x=True):
        grad_w = context.new.grad_weight(self.index.shape, grad_y.dtype)
        dot_products_kernel(grad_y, self.rows, self.columns, cache, grad_w)
        grad_x = None
        if need_grad_x:
            grad_x = context.new.grad_input(cache.shape, grad_y.dtype)
            grad_x[...] = 0
            add_products_kernel(context.prepared, self.columns, self.rows, grad_y, grad_x)
        return grad_x, self.gradients(grad_y, grad_w)


class SparseConv2d(_Sparse, Conv2d):
    """A convolution with stride 1 by the kept weights alone (see `npl0.sparse.convolution`)."""

    def __init__(self, layer: Conv2d, mask: np.ndarray) -> None:
        super().__init__(layer, mask)
        self.taps, self.turned = Taps.of(mask), Taps.of(mask, turned=True)
        # Where the gradients, in the order of the taps, come to lie in that of the dense array.
        self.order = np.argsort(self.taps.index)

    def prepare(self, new: Allocator = fresh, examples: int | None = None) -> Any:
        return self.kept(self.taps.index, new), self.kept(self.turned.index, new, "turned")

    def _convolve(self, x: np.ndarray, w: np.ndarray, taps: Taps, bias, padding: int, new, y: np.ndarray) -> np.ndarray:
        scratch = (new.temporary(f"sparse {i}", (n,), x.dtype) for i, n in enumerate(taps.scratch))
        bias = np.zeros(len(y), x.dtype) if bias is None else bias
        floor = x.dtype.type(-np.inf)
        convolve_kernel(x, w, *taps.arrays, bias, taps.size, padding, floor, 1, False, *scratch, y)
        return y

    def forward(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        y = context.new.output((*self.output_shape(x.shape[:3]), x.shape[3]), x.dtype)
        bias = None if self.bias is None else self.bias.value
        return self._convolve(x, context.prepared[0], self.taps, bias, self.padding, context.new, y), x

    def backward(self, grad_y, cache, context, need_grad_x=True):
        new, taps = context.new, self.taps
        totals = new.temporary("totals", (len(taps.index), LANES), grad_y.dtype)
        scratch = (new.temporary(f"sparse {i}", (n,), grad_y.dtype) for i, n in enumerate(taps.scratch))
        weight_gradient_kernel(cache, grad_y, *taps.arrays, taps.size, self.padding, *scratch, totals)
        grad_w = new.grad_weight(self.index.shape, grad_y.dtype)
        np.take(totals.sum(axis=1), self.order, out=grad_w)
        grad_x = None
        if need_grad_x:
            grad_x, padding = new.grad_input(cache.shape, grad_y.dtype), self.kernel_size - 1 - self.padding
            self._convolve(grad_y, context.prepared[1], self.turned, None, padding, new, grad_x)
        return grad_x, self.gradients(grad_y, grad_w)


def sparse_layer(layer: Layer, mask: np.ndarray, limits: dict[str, float]) -> Layer:
    """Return the layer that computes with the kept weights alone, or `layer` itself where that would not pay."""
    density = np.count_nonzero(mask) / mask.size
    if type(layer) is Linear and density <= limits["product"]:
        return SparseLinear(layer, mask)
    if type(layer) is Conv2d and layer.stride == 1 and density <= limits["winograd" if layer.tile else "im2col"]:
        return SparseConv2d(layer, mask)
    return layer


@contextmanager
def sparse_retraining(pruner: Pruner) -> Iterator[None]:
    """Let the network of a `FixedMask`, inside the block, compute with its kept weights alone; others are left alone.

    A step gives the same as with dense arrays, up to rounding, but what is pruned costs nothing, forward or backward.
    """
    network, masks = pruner.network, pruner.masks() if type(pruner) is FixedMask else {}
    layers, grads = network.layers, {}

    def replaced(layer: Layer) -> Layer:
        weight = getattr(layer, "weight", None)
        sparse = sparse_layer(layer, masks[weight.name], TRAINING) if masks and weight else layer
        if sparse is not layer:
            grads[weight], weight.grad = weight.grad, np.zeros(len(sparse.index), network.dtype)
        return sparse

    network.layers = tuple(map(replaced, layers))
    network.free_memory()
    try:
        yield
    finally:
        network.layers = layers
        network.free_memory()
        for weight, grad in grads.items():
            weight.grad = grad
