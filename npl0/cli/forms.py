"""The forms of a network that `python -m npl0 bench` times, side by side."""

import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from npl0 import nn, runtime, sparse
from npl0.cli.guard import note
from npl0.declare import Npl0Error
from npl0.nn.base import Context
from npl0.runs.environment import cpu_name
from npl0.runtime.memory import peak_memory_mb
from npl0.storage.files import brief

# The turns of a form for each batch, and their milliseconds; a form whose calls are slow has fewer.
TURNS, MS = 10, 50
# What predicts, what makes its input of images (N, ...), uint8; multiply-adds of an image, bytes of weights.
Form = tuple[Callable[[Any], Any], Callable[[np.ndarray], Any], int, int]


def _arrays(make: Callable[[nn.Network], nn.Network], network: nn.Network, workers: runtime.Workers) -> Form:
    made = make(network)
    macs, size = sum(row.macs for row in made.summary()), sum(array.value.nbytes for array in made.parameters)
    return partial(made.predict, workers=workers), np.asarray, macs, size


def _sparse(network: nn.Network, workers: runtime.Workers) -> Form:
    made = sparse.SparseNetwork(network)
    return partial(made.predict, workers=workers), np.asarray, made.macs, made.nbytes


def _onnx(network: nn.Network, workers: runtime.Workers) -> Form:
    import onnxruntime

    settings, content = onnxruntime.SessionOptions(), sparse.to_onnx(network)
    settings.intra_op_num_threads = workers.threads
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    sizes = _arrays(sparse.compact, network, workers)[2:]
    return lambda x: session.run(None, {"pixels": x})[0], lambda images: images.astype(np.float32), *sizes


def _c(precision: str, network: nn.Network, workers: runtime.Workers) -> Form:
    c = sparse.to_c(network, precision)
    function, dtype = sparse.load_library(c).model_predict, np.int32 if precision == "int8" else np.float32

    def predict(images: np.ndarray) -> np.ndarray:
        logits = np.empty((len(images), *network.output_shape), dtype)
        for image, row in zip(images, logits, strict=True):
            function(image.ctypes, row.ctypes)
        return logits

    # It takes one image after another, so that sixteen show how long a thousand take.
    return predict, lambda images: images[:16], _kept_macs(network), c.constants


def _torch(layout: str, way: str, network: nn.Network, workers: runtime.Workers) -> Form:
    """Build the network of PyTorch's layers, whose names and arguments are npl0's; it takes standardised images."""
    import torch

    warnings.simplefilter("ignore")  # TorchScript is deprecated, and the fastest form of some networks
    torch.set_num_threads(workers.threads)
    network = sparse.fold_batchnorm(network)
    pixels = [layer for layer in network.layers[:1] if isinstance(layer, nn.Standardise)]
    net, look = torch.nn.Sequential(), {"memory_format": getattr(torch, layout)}
    for layer in network.layers[len(pixels) :]:
        arguments = {name: value for name, value in layer.describe().items() if name != "algorithm"}
        bias = {"bias": arguments.pop("bias")} if "bias" in arguments else {}
        net.append(getattr(torch.nn, type(layer).__name__)(*arguments.values(), **bias))
        net[-1].load_state_dict({p.name.split(".")[1]: torch.from_numpy(p.value) for p in layer.parameters})
    net = net.eval().to(**look)
    if way == "frozen":
        net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.script(net)))
    elif way == "compiled":
        net = torch.compile(net, dynamic=False)

    def standardise(images: np.ndarray) -> Any:
        x = np.moveaxis(images, 0, -1).astype(network.dtype)
        for layer in pixels:
            x, _ = layer.forward(x, Context())
        return torch.from_numpy(np.moveaxis(x, -1, 0).copy()).to(**look)

    return torch.inference_mode()(lambda x: net(x)), standardise, *_arrays(lambda same: same, network, workers)[2:]


FORMS: dict[str, Callable[[nn.Network, runtime.Workers], Form]] = {
    "dense": partial(_arrays, sparse.fold_batchnorm),
    "compacted": partial(_arrays, sparse.compact),
    "sparse": _sparse,
    "C, float32": partial(_c, "float32"),
    "C, int8": partial(_c, "int8"),
    "ONNX Runtime": _onnx,
    "PyTorch": partial(_torch, "contiguous_format", ""),
    "PyTorch, channels_last": partial(_torch, "channels_last", ""),
    "PyTorch, frozen": partial(_torch, "contiguous_format", "frozen"),
    "PyTorch, channels_last, frozen": partial(_torch, "channels_last", "frozen"),
    "PyTorch, compiled": partial(_torch, "contiguous_format", "compiled"),
}


def measure(network: nn.Network, batches: list[int], workers: runtime.Workers) -> dict[str, Any]:
    """Time a network in each of its forms; return what is printed."""
    images = np.random.default_rng(0).integers(0, 256, (batches[-1], *network.input_shape), np.uint8)
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        note(f"this machine is busy (load {load:.1f}), which slows forms with several threads most, as PyTorch's")
    kept, forms, rows, missing, disagree = _kept_macs(network), {}, [], {}, {}
    for batch in tqdm(batches, unit="batch", dynamic_ncols=True, disable=None):
        calls, logits = {}, {}
        for name in [name for name in FORMS if name not in missing]:
            try:
                predict, feed, *_ = forms[name] = forms.get(name) or FORMS[name](network, workers)
                call = partial(predict, feed(images[:batch]))
                logits[name], calls[name] = np.array(call()), call  # not measured: what has to be compiled, is now
            except Exception as error:
                missing[name] = brief(error)
        if "dense" not in calls:
            raise Npl0Error(f"the dense network, with which all are compared, fails: {missing['dense']}")
        times = {name: [] for name in calls}
        for _ in range(TURNS):
            for name in [name for name in times if sum(times[name]) < TURNS * MS]:
                times[name] += _turn(calls[name])
        times = {name: np.array(taken) * batch / len(logits[name]) for name, taken in times.items()}
        torch = min((taken.min() for name, taken in times.items() if name.startswith("PyTorch")), default=None)
        for name, taken in times.items():
            ms, (_, _, macs, size) = taken.min(), forms[name]
            row = {"form": name, "batch": batch, "min_ms": ms, "median_ms": np.median(taken), "calls": len(taken)}
            row |= {"kept_gflops": 2e-6 * kept * batch / ms, "torch_over_this": torch and torch / ms}
            rows.append(row | {"macs": macs, "weight_bytes": size})
            # Weights that were rounded may find another class.
            if name != "C, int8" and _other_class(logits["dense"], logits[name]):
                disagree[name] = None
    head = {"model": network.name, "macs_kept": kept, "cpu": cpu_name(), "threads": workers.threads}
    return {**head, "peak_memory_mb": peak_memory_mb(), "rows": rows, "missing": missing, "disagree": [*disagree]}


def _turn(call: Callable[[], Any]) -> list[float]:
    """Return the milliseconds of calls in a row, without the first, unless that alone takes as long as all turns."""

    def timed() -> float:
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)

    # It brings back to the caches what the other forms displaced.
    first, times = timed(), []
    while first < TURNS * MS and sum(times) < MS:
        times.append(timed())
    return times or [first]


def _kept_macs(network: nn.Network) -> int:
    return sum(row.macs // row.weights * row.kept for row in sparse.compact(network).summary() if row.weights)


def _other_class(dense: np.ndarray, logits: np.ndarray) -> bool:
    """Return whether a class differs from the dense one although the dense logits are not equal up to rounding."""
    dense = dense[: len(logits)]
    chosen = np.take_along_axis(dense, logits.argmax(axis=1)[:, None], axis=1)
    return bool((dense.max(axis=1, keepdims=True) - chosen).max() > 1e-4 * np.abs(dense).max())
