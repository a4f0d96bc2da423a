"""Time one training step of npl0 and of PyTorch, side by side: `python experiments/bench_training.py`.

A step is all of: pick a batch of 128 uint8 images, standardise, forward, backward, Adam; for the gated variant also one
uniform draw a weight, the hard-concrete gates and the penalty. PyTorch does the same in its usual form: layers in the
order convolution, ReLU, pooling (npl0 pools before the ReLU, which gives the same numbers), the gated weights passed
through `torch.func.functional_call`. Neither side shifts images. Without PyTorch npl0's figures are shown alone.

Every measurement has a process of its own, npl0 and PyTorch in turn, so that both meet the same load of the machine.
The time of a variant is the median over the rounds of each round's median; the smallest step of all stands beside it.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from npl0.flags import Parser
from npl0.show import table

# Frameworks are imported inside functions: each child loads only its own, and the parent none, because on Linux the
# peak memory of a child counts from its parent's size.

VARIANTS = ("plain", "gated")
BATCH, IMAGES = 128, 60_000
LEARNING_RATE, GATE_LEARNING_RATE, LOG_ALPHA_INIT, L0_LAMBDA = 1e-3, 3e-2, 2.2, 8.0
MEAN, STD, SGEMM_SIZE, SGEMM_REPEATS = 0.1307, 0.3081, 1536, 10

# They force an older BLAS kernel than the processor's own.
FORCED_KERNEL = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

Result = dict[str, Any]


def synthetic_data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return uint8 images (60,000, 1, 28, 28), labels, and the indices of an epoch's batches (468, 128).

    Black images with grey squares, because on pixel noise max-pooling would mispredict more branches than on digits.
    """
    generator = np.random.default_rng(0)
    squares = generator.integers(0, 256, (IMAGES, 5, 5), np.uint8)
    squares[squares < 128] = 0
    images = np.zeros((IMAGES, 1, 28, 28), np.uint8)
    images[:, 0, 4:24, 4:24] = squares.repeat(4, axis=1).repeat(4, axis=2)
    labels, order = generator.integers(0, 10, IMAGES), generator.permutation(IMAGES)
    return images, labels, order[: IMAGES // BATCH * BATCH].reshape(-1, BATCH)


def best_ms(run: Callable[[], Any], repeats: int = 1) -> float:
    """Return the smallest time of a call, in milliseconds."""
    best = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        best = min(best, 1e3 * (time.perf_counter() - began))
    return best


def npl0_step(model: str, variant: str, threads: int) -> tuple[Any, dict[str, Callable[[int], Any]]]:
    """Return the network, and the parts of the step of `npl0.train.train_stage` as functions of the step's number."""
    from npl0.nn import build_model
    from npl0.optim import Adam
    from npl0.parallel import Workers
    from npl0.pruning import L0, Pruner

    workers, network = Workers(threads), build_model(model, mean=(MEAN,), std=(STD,))
    gates = {"gate_learning_rate": GATE_LEARNING_RATE, "log_alpha_init": LOG_ALPHA_INIT, "l0_lambda": L0_LAMBDA}
    pruner = L0(network, IMAGES, **gates) if variant == "gated" else Pruner(network)
    pruner.workers = workers
    optimizer = Adam(pruner.groups(LEARNING_RATE, 0.0))
    images, labels, order = synthetic_data()

    def loss_and_gradients(i: int) -> None:
        picked = order[i % len(order)]
        network.loss_and_gradients(images[picked], labels[picked], workers, (0, 0, i))

    return network, {
        "pruner.write_weights": pruner.write_weights,
        "network.loss_and_gradients": loss_and_gradients,
        "pruner.read_gradients": lambda i: pruner.read_gradients(),
        "optimizer.step": lambda i: optimizer.step(workers),
        "pruner.after_step": lambda i: pruner.after_step(),
    }


def torch_step(model: str, variant: str, threads: int, fused: bool) -> Callable[[int], float]:
    """Return the same step in PyTorch; `fused` selects its one-kernel Adam in place of the default."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    if model == "lenet5":
        conv1, conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        layers = [conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        layers += [nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)]
    else:
        layers = [nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    net = nn.Sequential(*layers)
    weights = {name: p for name, p in net.named_parameters() if name.endswith("weight")}
    groups = [{"params": list(net.parameters()), "lr": LEARNING_RATE}]
    gates = {}
    if variant == "gated":
        gates = {name: nn.Parameter(torch.full_like(p, LOG_ALPHA_INIT)) for name, p in weights.items()}
        groups.append({"params": list(gates.values()), "lr": GATE_LEARNING_RATE})
    optimizer = torch.optim.Adam(groups, fused=fused or None)
    images, labels, order = (torch.from_numpy(array) for array in synthetic_data())
    beta, gamma, zeta = 2 / 3, -0.1, 1.1

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
        # Louizos et al. 2018, eq. 10 to 12; logit(u) is their log u - log(1 - u) in one operation.
        gated, expected = {}, 0.0
        for name, log_alpha in gates.items():
            u = torch.empty_like(log_alpha).uniform_(1e-6, 1 - 1e-6)
            s = torch.sigmoid((torch.logit(u) + log_alpha) / beta)
            gated[name] = weights[name] * (s * (zeta - gamma) + gamma).clamp(0, 1)
            expected = expected + torch.sigmoid(log_alpha - beta * math.log(-gamma / zeta)).sum()
        return torch.func.functional_call(net, gated, (x,)) if gated else net(x), L0_LAMBDA / IMAGES * expected

    def step(i: int) -> float:
        picked = order[i % len(order)]
        optimizer.zero_grad()
        logits, penalty = forward((images[picked].float() / 255 - MEAN) / STD)
        loss = functional.cross_entropy(logits, labels[picked]) + penalty
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def npl0_sgemm_gflops(threads: int) -> float:
    """Return the GFLOP/s of large float32 products as npl0 uses BLAS: one on each thread; the best of several runs."""
    from npl0.parallel import Workers

    a, b = np.random.default_rng(0).random((2, SGEMM_SIZE, SGEMM_SIZE), np.float32)
    workers, outs = Workers(threads), [np.empty_like(a) for _ in range(threads)]
    ms = best_ms(lambda: workers.map(lambda out: np.matmul(a, b, out=out), outs), SGEMM_REPEATS)
    return threads * 2 * SGEMM_SIZE**3 / ms / 1e6


def profile(network: Any, parts: dict[str, Callable[[int], Any]], repeats: int) -> Result:
    """Time every layer on one shard, and every part of whole steps; ms, the smallest of the repeats."""
    from npl0.nn.layers import Pass
    from npl0.nn.network import Scratch

    layers = network.layers
    first = next(i for i, layer in enumerate(layers) if layer.parameters)
    x = np.ascontiguousarray(np.moveaxis(synthetic_data()[0][: network.shard_size], 0, -1))
    runs, caches, rows = [Pass(training=True, new=Scratch()) for _ in layers], [], []
    for layer, run in zip(layers, runs, strict=True):
        rows.append([best_ms(layer.prepare, repeats)])
        run.prepared = layer.prepare()
        rows[-1].append(best_ms(lambda x=x, layer=layer, run=run: layer.forward(x, run), repeats))
        x, cache = layer.forward(x, run)
        caches.append(cache)
    grad = np.random.default_rng(0).standard_normal(x.shape, np.float32)
    for i in reversed(range(len(layers))):
        back = (grad, caches[i], runs[i], i > first)
        rows[i].append(best_ms(lambda i=i, back=back: layers[i].backward(*back), repeats) if i >= first else 0.0)
        grad = layers[i].backward(*back)[0] if i > first else grad
    for i, row in enumerate(network.summary()):
        rows[i] = [row.name, *rows[i], 2 * network.shard_size * row.macs * (3 - (i == first)) / sum(rows[i]) / 1e6]
    best = dict.fromkeys(parts, math.inf)
    for i in range(repeats):
        best.update({name: min(best[name], best_ms(lambda i=i, part=part: part(i))) for name, part in parts.items()})
    return {"layers": rows, "parts": best}


def peak_mb() -> float | None:
    """Return the largest resident memory of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def run_child(arguments: argparse.Namespace) -> Result:
    """Do one measurement in this process."""
    framework, variant = arguments.child.split(":")
    if variant == "sgemm":
        return {"gflops": npl0_sgemm_gflops(arguments.threads)}
    flops, settings = None, (arguments.model, variant, arguments.threads)
    if framework == "npl0":
        network, parts = npl0_step(*settings)
        if arguments.profile:
            return profile(network, parts, arguments.steps)
        # Forward, weight gradient and input gradient cost the same; the first layer has no input gradient.
        macs = [row.macs for row in network.summary() if row.macs]
        flops = 2 * BATCH * (3 * sum(macs) - macs[0])

        def run(i: int) -> None:
            for part in parts.values():
                part(i)
    else:
        run = torch_step(*settings, arguments.fused_adam)
    times = [best_ms(lambda i=i: run(i)) for i in range(arguments.warm_up + arguments.steps)][arguments.warm_up :]
    return {"min": min(times), "median": statistics.median(times), "peak_mb": peak_mb(), "flops": flops}


def measure(child: str) -> Result:
    """Run this script again as a child, without a forced BLAS kernel, and return what it prints."""
    print(f"measuring {child}", file=sys.stderr)
    environment = {name: value for name, value in os.environ.items() if name not in FORCED_KERNEL}
    command = [sys.executable, __file__, *sys.argv[1:], "--child", child]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the measurement of {child} failed with exit code {done.returncode}")
    return json.loads(done.stdout)


def show_profile(variant: str, threads: int) -> None:
    """Measure and print the two tables of a profile."""
    result = measure(f"npl0:{variant}")
    layers = result["layers"]
    layers.append(["all", *(sum(row[column] for row in layers) for column in (1, 2, 3)), 0])
    rows = [[name, *(f"{t:.3f}" for t in ms), f"{rate:.0f}" if rate else ""] for name, *ms, rate in layers]
    print(f"{variant}: one shard on one thread, ms, smallest of the repeats; prepare is done once for all shards")
    print(table(["layer", "prepare", "forward", "backward", "GFLOP/s"], rows))
    parts = table(["part", "ms"], [[name, f"{t:.3f}"] for name, t in result["parts"].items()])
    print(f"\n{variant}: a whole step of {BATCH} images, {threads} threads\n{parts}\n")


def compare(arguments: argparse.Namespace) -> None:
    """Measure npl0 and PyTorch in turn and print the comparison."""
    frameworks = ("npl0", "torch") if importlib.util.find_spec("torch") else ("npl0",)
    found: dict[str, list[Result]] = {f"{f}:{v}": [] for v in VARIANTS for f in frameworks}
    sgemm = max(measure("npl0:sgemm")["gflops"] for _ in range(arguments.rounds))
    for _ in range(arguments.rounds):
        for child, results in found.items():
            results.append(measure(child))

    def middle(child: str, key: str) -> float | None:
        values = [result[key] for result in found.get(child, ()) if result[key] is not None]
        return statistics.median(values) if values else None

    report: Result = {"model": arguments.model, "threads": arguments.threads}
    rows = []
    for variant in VARIANTS:
        npl0_ms, torch_ms = (middle(f"{framework}:{variant}", "median") for framework in ("npl0", "torch"))
        ratio = npl0_ms / torch_ms if torch_ms else None
        report[variant] = {"npl0_ms": npl0_ms, "torch_ms": torch_ms, "ratio": ratio}
        for framework in frameworks:
            child, ms = f"{framework}:{variant}", report[variant][f"{framework}_ms"]
            low, rate = min(r["min"] for r in found[child]), middle(f"npl0:{variant}", "flops") / ms / 1e6
            shown = f"{ratio:.2f}" if ratio and framework == "npl0" else ""
            peak = f"{mb:.0f}" if (mb := middle(child, "peak_mb")) else ""
            rows.append([f"{variant}, {framework}", f"{low:.2f}", f"{ms:.2f}", shown, f"{rate:.0f}", peak])
    report["sgemm_gflops"] = sgemm
    for framework in ("npl0", "torch"):
        peaks = [mb for v in VARIANTS if (mb := middle(f"{framework}:{v}", "peak_mb"))]
        report[f"{framework}_peak_mb"] = max(peaks, default=None)
    if arguments.json:
        return print(json.dumps(report))
    print(f"{arguments.model}, batch {BATCH}, threads: {arguments.threads}, rounds: {arguments.rounds}")
    print(table(["step", "min ms", "median ms", "npl0/torch", "GFLOP/s", "peak MB"], rows))
    print(f"sgemm {SGEMM_SIZE}^3, {arguments.threads} at a time: {sgemm:.0f} GFLOP/s. The rate of a step counts the")
    print("multiply-adds of a dense im2col step; where npl0 convolves by Winograd it does fewer than these.")


def main() -> None:
    """Read the command line, and be the parent or one child."""
    parser = Parser(description=__doc__.split("\n")[0])

    def positive(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
        return int(text)

    parser.add_argument("--model", choices=("lenet5", "lenet300"), default="lenet5")
    numbers = {"--threads": (2, "threads of either framework"), "--rounds": (3, "processes for each measurement")}
    numbers |= {"--steps": (60, "timed steps of a process"), "--warm-up": (10, "steps before them")}
    for flag, (default, text) in numbers.items():
        parser.add_argument(flag, type=positive, default=default, metavar="N", help=f"{text} (default {default})")
    parser.add_argument("--fused-adam", action="store_true", help="PyTorch with Adam(fused=True), not its default")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    output.add_argument("--profile", action="store_true", help="show where the step of npl0 spends its time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_child(arguments)))
    elif arguments.profile:
        for variant in VARIANTS:
            show_profile(variant, arguments.threads)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
