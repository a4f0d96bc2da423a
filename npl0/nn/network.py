"""A network: layers in a row, trained and evaluated in shards."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.nn.layers import Context, Layer, Shape, Standardise
from npl0.nn.parameter import Parameter
from npl0.ops.loss import softmax_cross_entropy
from npl0.runtime import rng
from npl0.runtime.scratch import Scratch, ShardMemory
from npl0.runtime.threads import BLOCK, Workers

SHARD_SIZE = 64


def _sum_in_order(task: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """Write the sum of the parts, added first to last, into the total, where the first may be already."""
    total, (first, *others) = task
    if not np.may_share_memory(total, first):
        total[...] = first
    for other in others:
        total += other


@dataclass(frozen=True)
class LayerSummary:
    """One row of the table of layers; shapes are those of one example."""

    name: str
    kind: str
    output_shape: Shape
    weights: int
    biases: int
    macs: int


class Network:
    """Layers in a row.

    Parameters
    ----------
    layers : the layers, first to last; the last one gives the logits.
    input_shape : the shape of one example, for instance (1, 28, 28).
    name : a name for messages and files.
    seed : keys the draw of the first weights; None: the layers keep the values they have, of this dtype.
    dtype : float32, or float64 for gradient checks.
    shard_size : examples of a shard; part of what decides the bits of a result, never taken from the machine.

    Raises
    ------
    ValueError
        If a layer does not accept the shape the one before it gives; the message names the layer and both shapes.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        name: str = "network",
        seed: int | None = 0,
        dtype: np.dtype | type = np.float32,
        shard_size: int = SHARD_SIZE,
    ) -> None:
        if not layers:
            raise ValueError("a network needs at least one layer")
        if len({id(layer) for layer in layers}) < len(layers) or any(layer.name for layer in layers):
            raise ValueError("a layer belongs to one network, at one place in it; make new layers for another")
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64, not {np.dtype(dtype)}")
        if not isinstance(input_shape, Sequence) or not all(type(side) is int and side > 0 for side in input_shape):
            raise ValueError(f"input_shape must be sizes like (1, 28, 28), not {input_shape!r}")
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, not {shard_size}")
        self.layers, self.input_shape, self.name = list(layers), tuple(input_shape), name
        self.dtype, self.shard_size = np.dtype(dtype), shard_size
        self._scratch: list[list[Scratch]] = []
        # The scratch arrays serve one call at a time; a second thread of the caller's has to wait.
        self._busy = threading.Lock()
        self._name_layers()
        shape = self.input_shape
        for i, layer in enumerate(self.layers):
            if seed is not None:
                layer.initialise(rng.generator(seed, "init", i), self.dtype)
            layer.bind(shape)
            shape = layer.output_shape(shape)
        self.output_shape = shape
        trainable = [i for i, layer in enumerate(self.layers) if layer.parameters]
        self._first_trainable = trainable[0] if trainable else len(self.layers)

    def _name_layers(self) -> None:
        counts: dict[str, int] = {}
        for layer in self.layers:
            counts[layer.kind] = counts.get(layer.kind, 0) + 1
            layer.name = f"{layer.kind}{counts[layer.kind]}"
            for attribute, value in vars(layer).items():
                if isinstance(value, Parameter):
                    value.name = f"{layer.name}.{attribute}"

    @property
    def parameters(self) -> list[Parameter]:
        """All trainable arrays, first layer to last."""
        return [parameter for layer in self.layers for parameter in layer.parameters]

    @property
    def weights(self) -> list[Parameter]:
        """The parameters that pruning acts on."""
        return [parameter for parameter in self.parameters if parameter.kind == "weight"]

    def state(self) -> dict[str, np.ndarray]:
        """Return every array of the model by name: parameters and buffers (not copies)."""
        arrays = {parameter.name: parameter.value for parameter in self.parameters}
        for layer in self.layers:
            arrays.update({f"{layer.name}.{key}": value for key, value in layer.buffers.items()})
        return arrays

    def check_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Raise ValueError unless the arrays have the names and shapes of `state()`."""
        mine = self.state()
        if different := sorted(mine.keys() ^ arrays.keys()):
            more = f" and {len(different) - 3} more" if len(different) > 3 else ""
            raise ValueError(
                f"these arrays do not belong to {self.name}: {', '.join(different[:3])}{more} do not match"
            )
        for name, value in mine.items():
            if value.shape != arrays[name].shape:
                raise ValueError(f"{name} has shape {value.shape}, the stored one {arrays[name].shape}")

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Copy the arrays of `state()` into the model; none of them, but ValueError, if `check_state` refuses them."""
        self.check_state(arrays)
        for name, value in self.state().items():
            value[...] = arrays[name]

    def shards(self, n: int) -> list[slice]:
        """Cut n examples into shards; the last may have fewer examples than the others, or one more."""
        starts = list(range(0, n, self.shard_size))
        # A lone last example joins the shard before it: batch norm could not normalise it by itself.
        if len(starts) > 1 and n - starts[-1] == 1:
            starts.pop()
        return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], n], strict=False)]

    def _columns(self, images: np.ndarray) -> np.ndarray:
        # The border between the field's (N, C, H, W) of any number type and the batch-last floats inside.
        # A copy always, for layers may overwrite what they get.
        return np.array(np.moveaxis(images, 0, -1), dtype=self.dtype, order="C")

    def _contexts(self, shard: int, training: bool, prepared: list[Any], key: tuple[int, ...]) -> list[Context]:
        scratch = self._scratch[shard]
        return [
            Context(training, scratch[i], prepared[i], lambda i=i: rng.generator(key[0], "dropout", *key[1:], i, shard))
            for i in range(len(self.layers))
        ]

    def _prepare(self, shards: int, workers: Workers) -> list[Any]:
        """Have memory for so many shards, and compute what all of them share, layer by layer."""
        self._scratch += [self._new_scratch(i) for i in range(len(self._scratch), shards)]
        return workers.map(lambda i: self.layers[i].prepare(self._scratch[0][i]), range(len(self.layers)))

    def _new_scratch(self, shard: int) -> list[Scratch]:
        memory = ShardMemory()
        allocators = []
        for layer, after in zip(self.layers, [*self.layers[1:], None], strict=True):
            weights = [parameter for parameter in layer.parameters if parameter.kind == "weight"]
            # The first shard writes its weight gradients where the sum over the shards will stand.
            grad_weight = weights[0].grad if shard == 0 and weights else None
            allocators.append(Scratch(memory, grad_weight, after is not None and after.releases_input))
        return allocators

    def forward(self, x: np.ndarray, contexts: list[Context]) -> tuple[np.ndarray, list[Any]]:
        """Run one shard `(features..., N)`, which may be overwritten, through all layers; return output and caches."""
        caches = []
        for layer, context in zip(self.layers, contexts, strict=True):
            x, cache = layer.forward(x, context)
            caches.append(cache)
        return x, caches

    def backward(self, grad_y: np.ndarray, caches: list[Any], contexts: list[Context]) -> list[tuple[np.ndarray, ...]]:
        """Run one shard backwards; return the gradients of the parameters layer by layer, in the contexts' memory."""
        grads: list[tuple[np.ndarray, ...]] = [()] * len(self.layers)
        for i in reversed(range(self._first_trainable, len(self.layers))):
            need_grad_x = i > self._first_trainable
            grad_y, grads[i] = self.layers[i].backward(grad_y, caches[i], contexts[i], need_grad_x)
        return grads

    def loss_and_gradients(
        self, images: np.ndarray, labels: np.ndarray, workers: Workers, key: tuple[int, ...]
    ) -> tuple[float, int]:
        """Compute the mean cross-entropy of a mini-batch and leave its gradients in `parameter.grad`.

        Parameters
        ----------
        images : (N, *input_shape), uint8 or float; labels : (N,) integers.
        workers : the threads; the result does not depend on their number.
        key : the seed, then what tells this step from all others: together they key what dropout draws.

        Returns
        -------
        loss : the mean over the N examples.
        correct : how many were classified rightly.

        Raises
        ------
        ValueError
            If there is no example, or images and labels do not fit the network or each other.
        """
        n = len(images)
        if n < 1 or images.shape[1:] != self.input_shape or labels.shape != (n,):
            expected = f"(N, {str(self.input_shape)[1:-1]}) and (N,), N >= 1"
            raise ValueError(f"images and labels must have shapes {expected}, not {images.shape} and {labels.shape}")
        with self._busy:
            return self._loss_and_gradients(images, labels, workers, key)

    def _loss_and_gradients(
        self, images: np.ndarray, labels: np.ndarray, workers: Workers, key: tuple[int, ...]
    ) -> tuple[float, int]:
        shards = self.shards(n := len(images))
        prepared = self._prepare(len(shards), workers)

        def run_shard(shard: int) -> tuple[float, int, list[Any], list[tuple[np.ndarray, ...]]]:
            part = shards[shard]
            contexts = self._contexts(shard, True, prepared, key)
            logits, caches = self.forward(self._columns(images[part]), contexts)
            loss, correct, grad = softmax_cross_entropy(logits, labels[part], n)
            return loss, correct, caches, self.backward(grad, caches, contexts)

        results = workers.map(run_shard, range(len(shards)))
        tasks = []
        for i, layer in enumerate(self.layers):
            layer.merge_statistics([caches[i] for _, _, caches, _ in results])
            for j, parameter in enumerate(layer.parameters):
                parts = [grads[i][j].reshape(-1) for _, _, _, grads in results]
                total = parameter.grad.reshape(-1)
                for start in range(0, total.size, BLOCK):
                    block = slice(start, start + BLOCK)
                    tasks.append((total[block], [part[block] for part in parts]))
        workers.map(_sum_in_order, tasks)
        return sum(loss for loss, *_ in results), sum(correct for _, correct, *_ in results)

    def predict(self, images: np.ndarray, workers: Workers | None = None) -> np.ndarray:
        """Return the logits of images, shape (N, classes).

        Raises
        ------
        ValueError
            If the images do not have the network's input shape or are not finite numbers.
        """
        self.check_images(images)
        if workers is None:
            with Workers(1) as own:
                return self.predict(images, own)
        with self._busy:
            return self._predict(images, workers)

    def _predict(self, images: np.ndarray, workers: Workers) -> np.ndarray:
        shards = self.shards(len(images))
        prepared = self._prepare(workers.threads, workers)
        logits = np.empty((len(images), *self.output_shape), self.dtype)

        def run_lane(lane: int) -> None:
            # Each lane has its own scratch and walks its own shards; the logits are copied out of the scratch.
            for part in shards[lane :: workers.threads]:
                contexts = self._contexts(lane, False, prepared, ())
                logits[part] = np.moveaxis(self.forward(self._columns(images[part]), contexts)[0], -1, 0)

        workers.map(run_lane, range(workers.threads))
        return logits

    def activations(self, images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and the output (features..., n) of every layer in training, every one a copy, by shards."""
        xs = [self._columns(images[part]) for part in self.shards(len(images))]
        for i, layer in enumerate(self.layers):
            prepared = layer.prepare()
            for shard, x in enumerate(xs):
                context = Context(
                    True, prepared=prepared, generator=lambda key=(i, shard): rng.generator(0, "dropout", *key)
                )
                xs[shard], _ = layer.forward(x.copy(), context)
                yield layer.name, xs[shard]

    def check_images(self, images: np.ndarray) -> None:
        """Raise ValueError unless images are finite numbers of shape (N, *input_shape), and pixels if need be."""
        if not isinstance(images, np.ndarray) or images.dtype.kind not in "uif":
            raise ValueError(
                f"images must be a NumPy array of numbers, not {getattr(images, 'dtype', type(images).__name__)}"
            )
        if images.shape[1:] != self.input_shape:
            raise ValueError(f"images must have shape (N, {str(self.input_shape)[1:-1]}), not {images.shape}")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise ValueError("images contain NaN or infinity; replace them before calling")
        if isinstance(self.layers[0], Standardise) and images.size and 0 < images.max() <= 1:
            largest = f"the largest value of the images is {images.max()}"
            raise ValueError(f"{largest}, but the network takes pixel values in 0..255; multiply by 255")

    def summary(self) -> Iterator[LayerSummary]:
        """Yield one row a layer."""
        shape = self.input_shape
        for layer in self.layers:
            sizes = [(p.kind == "weight", p.size) for p in layer.parameters]
            macs = layer.macs(shape)
            shape = layer.output_shape(shape)
            yield LayerSummary(
                layer.name,
                layer.kind,
                shape,
                sum(size for is_weight, size in sizes if is_weight),
                sum(size for is_weight, size in sizes if not is_weight),
                macs,
            )
