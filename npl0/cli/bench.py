"""`python -m npl0 bench`: how long a stored network takes in each of its forms, and in PyTorch.

Each form has a process of its own, with its own threads and memory. They take turns, so that a busy machine slows all.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack, nullcontext
from functools import cache, partial
from importlib.util import find_spec
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
# The turns of a form for each batch, and their milliseconds; with slow calls, its time may be over after five.
TURNS, MS = 10, 50
# What predicts, what makes its input of images (N, ...), uint8; multiply-adds of an image, bytes of weights.
Form = tuple[Callable[[Any], Any], Callable[[np.ndarray], Any], int, int]


def _sizes(network: nn.Network) -> tuple[int, int]:
    return sum(row.macs for row in network.summary()), sum(array.value.nbytes for array in network.parameters)


def _kept_macs(network: nn.Network) -> int:
    return sum(row.macs // row.weights * row.kept for row in sparse.compact(network).summary() if row.weights)


def _arrays(make: Callable[[nn.Network], nn.Network], network: nn.Network, threads: int) -> Form:
    made = make(network)
    return partial(made.predict, workers=runtime.Workers(threads).__enter__()), np.asarray, *_sizes(made)


def _c(precision: str, network: nn.Network, threads: int) -> Form:
    c = sparse.to_c(network, precision)
    function, dtype = sparse.load_library(c).model_predict, np.int32 if precision == "int8" else np.float32

    def predict(images: np.ndarray) -> np.ndarray:
        logits = np.empty((len(images), *network.output_shape), dtype)
        for image, row in zip(images, logits, strict=True):
            function(image.ctypes, row.ctypes)
        return logits

    # It takes one image after another, so that sixteen show how long a thousand take.
    return predict, lambda images: images[:16], _kept_macs(network), c.constants


def _torch(layout: str, way: str, network: nn.Network, threads: int) -> Form:
    """Build the network of PyTorch's layers, whose names and arguments are npl0's; it takes standardised images."""
    import torch

    warnings.simplefilter("ignore")  # TorchScript is deprecated, and the fastest form of some networks
    torch.set_num_threads(threads)
    network = sparse.fold_batchnorm(network)
    first, *layers = network.layers
    net, look = torch.nn.Sequential(), {"memory_format": getattr(torch, layout)}
    for layer in layers if isinstance(first, nn.Standardise) else (first, *layers):
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
        x = first.forward(x, Context())[0] if isinstance(first, nn.Standardise) else x
        return torch.from_numpy(np.moveaxis(x, -1, 0).copy()).to(**look)

    return torch.inference_mode()(lambda x: net(x)), standardise, *_sizes(network)


def _sparse(network: nn.Network, threads: int) -> Form:
    made, size = sparse.SparseNetwork(network), len(sparse.to_npl0(network, "float32"))
    return partial(made.predict, workers=runtime.Workers(threads).__enter__()), np.asarray, made.macs, size


FORMS: dict[str, Callable[[nn.Network, int], Form]] = {
    "dense": partial(_arrays, sparse.fold_batchnorm),
    "compacted": partial(_arrays, sparse.compact),
    **({"sparse": _sparse} if hasattr(sparse, "SparseNetwork") else {}),
    "C, float32": partial(_c, "float32"),
    "C, int8": partial(_c, "int8"),
    "PyTorch": partial(_torch, "contiguous_format", ""),
    "PyTorch, channels_last": partial(_torch, "channels_last", ""),
    "PyTorch, frozen": partial(_torch, "contiguous_format", "frozen"),
    "PyTorch, channels_last, frozen": partial(_torch, "channels_last", "frozen"),
    "PyTorch, compiled": partial(_torch, "contiguous_format", "compiled"),
}
NEEDS = {
    "C": (shutil.which, "gcc", "gcc is not installed"),
    "PyTorch": (find_spec, "torch", "not installed: pip install 'torch>=2.4'"),
}


@cache
def _form(name: str, path: str, threads: int) -> Form:
    return FORMS[name](storage.load_model(path), threads)


def _turn(name: str, path: str, threads: int, images: np.ndarray, ms: float) -> tuple[list, np.ndarray, dict]:
    """Call a form for so many milliseconds; return those of each call, the logits, and the size of the form."""
    predict, feed, macs, weight_bytes = _form(name, path, threads)
    x, times = feed(images), []
    # The call that is not measured brings back to the caches what the other forms displaced.
    logits = np.array(predict(x))
    while sum(times) < ms:
        began = time.perf_counter()
        predict(x)
        times.append(1e3 * (time.perf_counter() - began) * len(images) / len(logits))
    return times, logits, {"macs": macs, "weight_bytes": weight_bytes, "peak_memory_mb": peak_memory_mb()}


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 bench") -> int:
    """Run the command; return its exit code."""
    what = "Time a run's pruned network dense, compacted, in C, and in PyTorch, on images of random pixels."
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
    threads = options.threads or runtime.available_threads()
    with replacing(options.plot) if options.plot else nullcontext() as figure:
        if figure:
            report.check_plots("a figure")
            figure.touch()  # before the work, not after it
        found = _measure(storage.load_model(options.run), options.run, sorted({*options.batch}), threads)
        print(json.dumps(found, indent=2) if options.json else _text(found), flush=True)
        if figure:
            _draw(found["rows"], figure, Path(options.plot).suffix[1:])
    if found["disagree"]:
        raise Npl0Error("other classes than those of the dense network: " + "; ".join(found["disagree"]))


def _measure(network: nn.Network, path: str, batches: list[int], threads: int) -> dict[str, Any]:
    """Time a network that is stored at `path` in each of its forms; return what is printed."""
    images = np.random.default_rng(0).integers(0, 256, (batches[-1], *network.input_shape), np.uint8)
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        note(f"this machine is busy (load {load:.1f}), which slows forms with several threads most, as PyTorch's")
    missing = {name: remedy for name, (find, what, remedy) in NEEDS.items() if not find(what)}
    kept, rows, disagree = _kept_macs(network), [], {}
    # Not forked: a child would begin with the memory of its parent, which also is what ends it.
    how = {"mp_context": multiprocessing.get_context("spawn"), "initializer": signal.signal}
    process = partial(ProcessPoolExecutor, 1, initargs=(signal.SIGINT, signal.SIG_IGN), **how)
    look = {"dynamic_ncols": True, "disable": not sys.stderr.isatty(), "unit": "turn", "file": sys.stderr}
    with ExitStack() as stack:
        pools = {name: stack.enter_context(process()) for name in FORMS if name.split(",")[0] not in missing}
        wait([pool.submit(_turn, name, path, threads, images[:1], 0) for name, pool in pools.items()])
        bar = stack.enter_context(tqdm(total=len(batches) * TURNS, **look))
        for batch in batches:
            times, logits, sizes = {name: [] for name in pools if name not in missing}, {}, {}
            for _ in range(TURNS):
                for name in [name for name in times if len(times[name]) < 5 or sum(times[name]) < TURNS * MS]:
                    try:
                        turn = pools[name].submit(_turn, name, path, threads, images[:batch], MS)
                        taken, logits[name], sizes[name] = turn.result()
                        times[name] += taken
                    except Exception as error:
                        missing[name] = brief(error)
                        del times[name]
                bar.update()
            if "dense" not in times:
                raise Npl0Error(f"the dense network, with which all are compared, fails: {missing['dense']}")
            least = {name: min(taken) for name, taken in times.items()}
            torch = min((ms for name, ms in least.items() if name.startswith("PyTorch")), default=None)
            for name, ms in least.items():
                speed = {"min_ms": ms, "median_ms": float(np.median(times[name])), "calls": len(times[name])}
                speed |= {"kept_gflops": 2e-6 * kept * batch / ms, "torch_over_this": torch and torch / ms}
                rows.append({"form": name, "batch": batch, **speed, **sizes[name]})
                # Weights that were rounded may find another class.
                if name != "C, int8" and _other_class(logits["dense"], logits[name]):
                    disagree[name] = None
    head = {"model": network.name, "macs_kept": kept, "cpu": cpu_name(), "threads": threads}
    return {**head, "rows": rows, "missing": missing, "disagree": [*disagree]}


def _other_class(dense: np.ndarray, logits: np.ndarray) -> bool:
    """Return whether a class differs from the dense one although the dense logits are not equal up to rounding."""
    dense = dense[: len(logits)]
    chosen = np.take_along_axis(dense, logits.argmax(axis=1)[:, None], axis=1)
    return bool((dense.max(axis=1, keepdims=True) - chosen).max() > 1e-4 * np.abs(dense).max())


def _text(found: dict[str, Any]) -> str:
    head = f"{found['model']}, {found['macs_kept']:,} multiply-adds an image with the weights that are kept\n"
    head += f"{found['cpu']}, {found['threads']} threads\n"
    titles = ["form", "batch", "min ms", "median ms", "calls", "GFLOP/s", "PyTorch / this", "MACs", "bytes", "peak MB"]
    forms = ["", "", ",.3f", ",.3f", ",", ",.1f", ",.2f", ",", ",", ",.0f"]
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
