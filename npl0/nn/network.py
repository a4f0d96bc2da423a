"""Networks: layers in a row, trained and evaluated in shards."""

import contextlib
import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

from npl0.nn.base import Context, Layer, Shape, checked_shape, numbered, whole
from npl0.nn.layers import Standardise
from npl0.nn.parameter import Parameter, copy_arrays
from npl0.nn.summary import show, summarise
from npl0.ops.loss import check_labels, softmax_cross_entropy
from npl0.runtime import rng
from npl0.runtime.scratch import Memory, Scratch
from npl0.runtime.threads import Workers, blocks

# Memory for predictions: fewer threads than there are work on a network that would need more.
LANES_BYTES = 1 << 29


def _sum_in_order(arrays: list[np.ndarray]) -> None:
    """Write into the first array, whose memory may be that of the second, the sum of the others, added in order."""
    total, first, *others = arrays
    if not np.may_share_memory(total, first):
        total[...] = first
    for other in others:
        total += other


class _Work:
    """What serves one call of a network at a time: a lock, scratch arrays, the largest shard whose memory is known."""

    def __init__(self) -> None:
        self.busy, self.scratch, self.measured = threading.Lock(), list[list[Scratch]](), 0


# Kept here, so that networks can be copied and pickled, and a forked child, where no thread holds the lock, drops them.
_works: weakref.WeakKeyDictionary["Network", _Work] = weakref.WeakKeyDictionary()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_works.clear)


class Network:
    """Layers in a row.

    Parameters
    ----------
    layers : first to last; the last one returns the logits.
    input_shape : the shape of one example, such as (1, 28, 28).
    name : for messages and files.
    seed : keys the draw of the initial weights; None: the layers keep the values that they have.
    dtype : float32, or float64 for gradient checks.
    shard_size : the most examples per shard, over which batch norm takes its statistics. It affects the bits of the
        result, so it does not depend on the machine.

    `header` holds what `load_model` found in the file beside the arrays. `copy` and `pickle` copy all arrays.

    Raises
    ------
    ValueError
        If a layer does not accept the shape of its input, or could not be stored; the message names the layer.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        name: str = "network",
        seed: int | None = 0,
        dtype: np.dtype | type | str = np.float32,
        shard_size: int = 64,
    ) -> None:
        if not layers:
            raise ValueError("a network needs at least one layer")
        if len({id(layer) for layer in layers}) < len(layers) or any(layer.name for layer in layers):
            raise ValueError("a layer belongs to one network, at one place in it; make new layers for another")
        with contextlib.suppress(TypeError):
            dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64, not {dtype}")
        self.layers, self.input_shape, self.name, self.header = tuple(layers), checked_shape(input_shape), name, {}
        self.dtype, (self.shard_size,) = dtype, whole("Network", 1, shard_size=shard_size)
        counts, shape = Counter(), self.input_shape
        for i, layer in enumerate(self.layers):
            with numbered(i + 1, type(layer).__name__):
                layer.describe()
                counts[layer.kind] += 1
                layer.name = f"{layer.kind}{counts[layer.kind]}"
                if seed is not None:
                    layer.initialise(rng.generator(seed, "init", i), self.dtype)
                for attribute, value in vars(layer).items():
                    if isinstance(value, Parameter):
                        value.name = f"{layer.name}.{attribute}"
                layer.bind(shape)
                shape = layer.output_shape(shape)
        self.output_shape = shape
        self._first_trainable = next((i for i, layer in enumerate(self.layers) if layer.parameters), len(self.layers))

    def __repr__(self) -> str:
        outputs = self.output_shape if len(self.output_shape) > 1 else self.output_shape[0]
        weights = sum(weight.size for weight in self.weights)
        return f"Network({self.name!r}, {self.input_shape} -> {outputs}, {weights:,} weights)"

    __str__ = show
    __copy__ = deepcopy
    summary = summarise

    @property
    def _work(self) -> _Work:
        return _works.setdefault(self, _Work())

    @property
    def parameters(self) -> list[Parameter]:
        """All trainable arrays, first layer to last."""
        return [parameter for layer in self.layers for parameter in layer.parameters]

    @property
    def weights(self) -> list[Parameter]:
        """The parameters that pruning acts on."""
        return [parameter for parameter in self.parameters if parameter.kind == "weight"]

    def state(self) -> dict[str, np.ndarray]:
        """Return every array of the network, parameters and buffers, by name; they are not copied."""
        arrays = {parameter.name: parameter.value for parameter in self.parameters}
        for layer in self.layers:
            arrays.update({f"{layer.name}.{key}": value for key, value in layer.buffers.items()})
        return arrays

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy the arrays into those of `state()`; ValueError, and no change, if names, shapes or dtypes differ."""
        copy_arrays(self.name, self.state(), arrays)

    def free_memory(self) -> None:
        """Give back the scratch memory of earlier calls, as after a change of the layers."""
        _works.pop(self, None)

    def shards(self, n: int, least: int = 0) -> list[slice]:
        """Cut n examples into the fewest shards, but `least`, of at most `shard_size`; sizes differ by one at most."""
        count = max(-(-n // self.shard_size), least)
        return [slice(i * n // count, (i + 1) * n // count) for i in range(count)]

    def _columns(self, images: np.ndarray) -> np.ndarray:
        """Return images (N, ...) as floats (..., N); always a copy, which layers may overwrite."""
        return np.array(np.moveaxis(images, 0, -1), dtype=self.dtype, order="C")

    def _prepare(self, shards: int, workers: Workers, n: int | None = None) -> list[Any]:
        """Provide scratch memory for the shards and run `Layer.prepare` of every layer."""
        self._work.scratch.extend(self._new_scratch(i) for i in range(len(self._work.scratch), shards))
        return workers.map(lambda i: self.layers[i].prepare(self._work.scratch[0][i], n), range(len(self.layers)))

    def _new_scratch(self, shard: int) -> list[Scratch]:
        memory, allocators = Memory(), []
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            grads = [parameter.grad for parameter in layer.parameters if parameter.kind == "weight"]
            # The first shard writes its weight gradients to where the sum over the shards will be.
            grad_weight = grads[0] if shard == 0 and grads else None
            allocators.append(Scratch(memory, grad_weight, following is not None and following.releases_input))
        return allocators

    def forward(self, x: np.ndarray, contexts: list[Context]) -> tuple[np.ndarray, list[Any]]:
        """Return the output and the caches of one shard, (*input_shape, N), which may be overwritten."""
        caches = []
        for layer, context in zip(self.layers, contexts, strict=True):
            x, cache = layer.forward(x, context)
            caches.append(cache)
        return x, caches

    def backward(self, grad_y: np.ndarray, caches: list[Any], contexts: list[Context]) -> list[tuple[np.ndarray, ...]]:
        """Return the gradients of each layer's parameters for one shard, in the scratch memory of its contexts."""
        grads: list[tuple[np.ndarray, ...]] = [()] * len(self.layers)
        for i in reversed(range(self._first_trainable, len(self.layers))):
            need_grad_x = i > self._first_trainable
            grad_y, grads[i] = self.layers[i].backward(grad_y, caches[i], contexts[i], need_grad_x)
        return grads

    def loss_and_gradients(
        self, images: np.ndarray, labels: np.ndarray, workers: Workers, key: tuple[int, ...]
    ) -> tuple[float, int]:
        """Compute the mean cross-entropy of a mini-batch, and its gradients into `parameter.grad`.

        ValueError if `check_examples` raises it, which at every step leaves the values of the images unchecked.

        Parameters
        ----------
        images, labels : (N, *input_shape), uint8 or float; (N,), integers.
        workers : the threads; the result does not depend on their number.
        key : the seed, then integers that identify the step; they key the draws of dropout.

        Returns
        -------
        loss, correct : the mean over the N examples, and the number of them that are classified correctly.
        """
        self.check_examples((images, labels), values=False)
        n = len(images)
        with self._work.busy:
            shards = self.shards(n)
            prepared = self._prepare(len(shards), workers)

            def run_shard(shard: int) -> tuple[float, int, list[Any], list[tuple[np.ndarray, ...]]]:
                contexts = [
                    Context(True, new, prepared[i], lambda i=i: rng.generator(key[0], "dropout", *key[1:], i, shard))
                    for i, new in enumerate(self._work.scratch[shard])
                ]
                logits, caches = self.forward(self._columns(images[shards[shard]]), contexts)
                loss, correct, grad = softmax_cross_entropy(logits, labels[shards[shard]], n)
                return loss, correct, caches, self.backward(grad, caches, contexts)

            losses, counts, caches, grads = zip(*workers.map(run_shard, range(len(shards))), strict=True)
            tasks = []
            for i, layer in enumerate(self.layers):
                layer.merge_statistics([of_shard[i] for of_shard in caches])
                for j, parameter in enumerate(layer.parameters):
                    tasks += blocks(parameter.grad, *(of_shard[i][j] for of_shard in grads))
            workers.map(_sum_in_order, tasks)
            return sum(losses), sum(counts)

    def predict(self, images: np.ndarray, workers: Workers | None = None) -> np.ndarray:
        """Return the logits of images, shape (N, classes); ValueError if `check_images` refuses them."""
        self.check_images(images)
        if workers is None:
            with Workers() as workers:
                return self.predict(images, workers)
        logits = np.empty((len(images), *self.output_shape), self.dtype)
        with self._work.busy:
            # Two threads find work in 32 images. The number of threads must not matter, and smaller shards cost more.
            shards = self.shards(len(images), least=min(2, len(images) // 16))
            prepared = self._prepare(workers.threads, workers, len(images))

            def run_lane(lane: int, parts: list[slice]) -> None:
                memory = self._work.scratch[lane][0].shard
                # Only x and y of a layer exist at a time.
                new = Scratch(memory, output_is_temporary=True, own=memory)
                contexts = [Context(False, new, ready) for ready in prepared]
                for part in parts:
                    logits[part] = np.moveaxis(self.forward(self._columns(images[part]), contexts)[0], -1, 0)

            # A lane is a thread's share of the shards, in one memory; the largest shard shows how much that is.
            if shards and shards[0].stop > self._work.measured:
                run_lane(0, shards[:1])
                self._work.measured, shards = shards[0].stop, shards[1:]
            n = min(workers.threads, 1 + LANES_BYTES // max(1, self._work.scratch[0][0].shard.size))
            workers.map(lambda lane: run_lane(lane, shards[lane::n]), range(n))
        return logits

    def activations(self, images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name of each layer and, shard by shard, a copy of its output in training, (features..., n)."""
        xs = [self._columns(images[part]) for part in self.shards(len(images))]
        for i, layer in enumerate(self.layers):
            prepared = layer.prepare()
            for shard, x in enumerate(xs):
                generator = partial(rng.generator, 0, "dropout", i, shard)
                xs[shard], _ = layer.forward(x.copy(), Context(True, prepared=prepared, generator=generator))
                yield layer.name, xs[shard]

    def check_examples(self, examples: tuple[np.ndarray, np.ndarray], part: str = "", values: bool = True) -> None:
        """Raise ValueError, with `part` in it, unless these are a pair: images, at least one, and their classes."""
        pair = examples if isinstance(examples, tuple | list) else ()
        if len(pair) != 2:
            found = ", ".join(type(part).__name__ for part in pair) or type(examples).__name__
            raise ValueError(f"{part}examples must be a pair (images, labels), not {found}")
        images, labels = pair
        try:
            self.check_images(images, values)
        except ValueError as error:
            raise ValueError(f"{part}images: {error}") from error
        if len(images) == 0:
            raise ValueError(f"{part}images: there is none; at least one is needed")
        if len(self.output_shape) != 1:
            raise ValueError(f"the network outputs {self.output_shape} per image; it must end in one number per class")
        check_labels(labels, len(images), self.output_shape[0], f"{part}labels")

    def check_images(self, images: np.ndarray, values: bool = True) -> None:
        """Raise ValueError unless images are finite numbers of shape (N, *input_shape), in 0..255 if standardised.

        Each image is judged alone: floats of which the largest is above 0, at most 2, count as scaled by somebody.
        """
        if not isinstance(images, np.ndarray) or images.dtype.kind not in "uif":
            found = getattr(images, "dtype", type(images).__name__)
            raise ValueError(f"images must be a NumPy array of numbers, not {found}")
        if images.shape[1:] != self.input_shape:
            raise ValueError(f"images must have shape (N, {str(self.input_shape)[1:-1]}), not {images.shape}")
        if not values or images.dtype == np.uint8:
            return
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise ValueError("images contain NaN or infinity; replace them before calling")
        if isinstance(self.layers[0], Standardise) and images.size:
            low, high = (bound(tuple(range(1, images.ndim))) for bound in (images.min, images.max))
            scaled = (images.dtype.kind == "f") & (high > 0) & (high <= 2)
            for i in np.flatnonzero((low < 0) | (high > 255) | scaled)[:1]:
                found = f"the values of image {i} range from {low[i]:g} to {high[i]:g}"
                raise ValueError(f"{found}, but the network takes pixel values in 0..255; multiply 0..1 by 255")
