"""`python -m npl0 bench`: how long a stored network takes in each of its forms, in PyTorch, and in ONNX Runtime.

The forms take turns in one process, so that a machine that is busy for a while slows them all.
"""

import json
import os
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from npl0 import nn, report, runtime, sparse, storage
from npl0.cli.guard import guard, note
from npl0.declare import Npl0Error
from npl0.nn.base import Context
from npl0.nn.summary import table
from npl0.runs.environment import cpu_name
from npl0.runtime.memory import peak_memory_mb
from npl0.settings.flags import Parser, add_thread_flag, at_least_one
from npl0.storage.files import brief, replacing

BATCHES, FIGURES = [1, 16, 128, 1000], (".svg", ".png", ".pdf")
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


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 bench") -> int:
    """Run the command; return its exit code."""
    what = "Time a run's network dense, compacted, sparse, in C, ONNX Runtime and PyTorch, on images of random pixels."
    parser = Parser(prog=prog, description=what)
    parser.add_argument("run", metavar="RUN", help="a run folder, or a model.npz")
    words = {"type": at_least_one, "nargs": "+", "default": BATCHES, "metavar": "N"}
    parser.add_argument("--batch", help=f"images of a call (default: {' '.join(map(str, BATCHES))})", **words)
    add_thread_flag(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    parser.add_argument("--plot", metavar="FILE", help="draw the times, as .svg, .png or .pdf (needs the extra `plot`)")
    options = parser.parse_args(arguments)
    if options.plot and Path(options.plot).suffix not in FIGURES:
        parser.error(f"--plot {options.plot}: the name of a figure ends in {', '.join(FIGURES)}")
    return guard(lambda: _bench(options), prog)


def _bench(options: Any) -> None:
    with replacing(options.plot) if options.plot else nullcontext() as figure:
        if figure:
            report.check_plots("a figure")
            figure.touch()  # before the work, not after it
        # PyTorch is loaded inside: the BLAS that it brings keeps its threads.
        with runtime.Workers(options.threads or runtime.available_threads()) as workers:
            found = _measure(storage.load_model(options.run), sorted({*options.batch}), workers)
        print(json.dumps(found, indent=2) if options.json else _text(found), flush=True)
        if figure:
            _draw(found["rows"], figure, Path(options.plot).suffix[1:])
    if found["disagree"]:
        raise Npl0Error("other classes than those of the dense network: " + "; ".join(found["disagree"]))


def _measure(network: nn.Network, batches: list[int], workers: runtime.Workers) -> dict[str, Any]:
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


def _text(found: dict[str, Any]) -> str:
    head = f"{found['model']}, {found['macs_kept']:,} multiply-adds an image with the weights that are kept\n"
    head += f"{found['cpu']}, {found['threads']} threads\n"
    titles = ["form", "batch", "min ms", "median ms", "calls", "GFLOP/s", "PyTorch / this", "MACs", "bytes"]
    forms = ["", "", ",.3f", ",.3f", ",", ",.1f", ",.2f", ",", ","]
    pairs = [zip(row.values(), forms, strict=True) for row in found["rows"]]
    cells = [["" if value is None else f"{value:{form}}" for value, form in row] for row in pairs]
    missing = [f"{name}: {reason}" for name, reason in found["missing"].items()]
    return "\n".join([head, table(titles, cells), *missing])


def _draw(rows: list[dict[str, Any]], path: Path, form: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["form"] for row in rows):
        x, y = np.array([(row["batch"], row["min_ms"] / row["batch"]) for row in rows if row["form"] == name]).T
        axes.loglog(x, y, "o:" if name.startswith("PyTorch") else "o-", label=name)
    axes.set(xlabel="images of a call", ylabel="ms an image, the least")
    axes.set_xticks(batches := sorted({row["batch"] for row in rows}), batches)
    axes.grid(linewidth=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, format=form, dpi=150)
