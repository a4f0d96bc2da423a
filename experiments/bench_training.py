"""Time one training step of npl0 and of PyTorch side by side: `python experiments/bench_training.py [--model vgg16]`.

A step picks a batch of uint8 images, standardises it, runs forward and backward, and updates the parameters with the
model's optimiser: Adam for the LeNets, SGD with Nesterov momentum and weight decay for VGG-16. The gated variant adds
one uniform draw per weight, the hard-concrete gates, the penalty, and Adam on the gates. PyTorch does the same in its
usual form: its layers are in the order convolution, batch norm, ReLU, pooling (npl0 pools before ReLU, with the same
result), and gated weights are passed through `torch.func.functional_call`. Neither side augments. npl0 normalises each
shard of the batch by its own statistics, PyTorch the whole batch. PyTorch is measured in all its forms: both memory
formats, each with plain and with fused optimisers. The ratio is that to its fastest form. Without PyTorch, only npl0 is
measured.

Every measurement runs in its own process, and all take turns, so that they meet the same load. The time shown for a
variant is the median, over the rounds, of the median step; beside it stands the shortest step of all. Peak memory is
the largest resident set of the process (`ru_maxrss`), with interpreter, libraries and training images.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import best_ms, own_kernel_environment
from npl0.nn.models import MODELS
from npl0.nn.summary import table
from npl0.runs.environment import cpu_name
from npl0.runtime.memory import peak_memory_mb
from npl0.settings.flags import Parser, at_least_one
from step_setting import VARIANTS, WORKLOADS, Setting

# Each child imports only its own side, inside `run_child`; the parent imports neither, because on Linux the peak memory
# of a child is at least the size of its parent.

ROOT = Path(__file__).resolve().parents[1]

Result = dict[str, Any]

# PyTorch in its forms, by the names of its processes: default, channels-last memory format, fused optimisers, and both.
TORCH = ("torch", "torch channels_last", "torch fused", "torch channels_last fused")


def run_child(arguments: argparse.Namespace) -> Result:
    """Take one measurement in this process."""
    framework, variant = arguments.child.split(":")
    setting = Setting(arguments.model, variant, arguments.threads, arguments.batch, arguments.width)
    macs = None
    if framework == "npl0":
        from npl0_step import npl0_step, profile, sgemm_gflops, step_macs

        if variant == "sgemm":
            return {"gflops": sgemm_gflops(arguments.threads)}
        if arguments.profile:
            return profile(setting, arguments.steps)
        network, parts = npl0_step(setting)
        macs = step_macs(network, arguments.batch)

        def run(i: int) -> None:
            for part in parts.values():
                part(i)
    else:
        from torch_step import torch_step

        run = torch_step(setting, "fused" in framework, "channels_last" in framework)
    times = [best_ms(lambda i=i: run(i)) for i in range(arguments.warm_up + arguments.steps)][arguments.warm_up :]
    return {"min": min(times), "median": statistics.median(times), "peak_mb": peak_memory_mb(), "macs": macs}


def measure(child: str, flags: Sequence[str], checkout: Path = ROOT) -> Result:
    """Take one measurement in a child process, with no BLAS kernel forced on it, and return its result.

    Parameters
    ----------
    child : `npl0` or an entry of TORCH, a colon and the variant; or `npl0:sgemm`.
    flags : the command line of this script.
    checkout : the clone of npl0 that is measured, whose own copy of this script is run.
    """
    print("measuring", child, *flags, file=sys.stderr)
    command = [sys.executable, str(checkout / "experiments" / "bench_training.py"), *flags, "--child", child]
    environment = own_kernel_environment() | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the measurement of {child} failed with exit code {done.returncode}")
    return json.loads(done.stdout)


def title(arguments: argparse.Namespace) -> str:
    """Return a title that says which step is measured."""
    width = f" of width {arguments.width:g}" if MODELS[arguments.model].scalable else ""
    return f"{arguments.model}{width}, batch {arguments.batch}, threads: {arguments.threads}"


def show_profile(variant: str, arguments: argparse.Namespace) -> None:
    """Measure the profile of a variant, and print its two tables."""
    result = measure(f"npl0:{variant}", sys.argv[1:])
    rows = [[name, *(f"{t:.3f}" for t in ms), f"{rate:.0f}" if rate else ""] for name, *ms, rate in result["layers"]]
    print(f"{variant}: one shard on one thread, ms, shortest of the repeats; prepare runs once for all shards")
    print(table(["layer", "prepare", "forward", "backward", "GFLOP/s"], rows))
    print(f"GFLOP/s count dense multiply-adds; sgemm reaches {result['sgemm_gflops']:.0f} GFLOP/s on one thread")
    parts = table(["part", "ms"], [[name, f"{t:.3f}"] for name, t in result["parts"].items()])
    print(f"\n{variant}: a whole step, {title(arguments)}\n{parts}\n")


def compare(arguments: argparse.Namespace) -> None:
    """Measure npl0 and PyTorch in turn, and print the comparison."""
    flags = sys.argv[1:]
    frameworks = ("npl0", *(TORCH if importlib.util.find_spec("torch") else ()))
    found: dict[str, list[Result]] = {f"{f}:{v}": [] for v in VARIANTS for f in frameworks}
    sgemm = max(measure("npl0:sgemm", flags)["gflops"] for _ in range(arguments.rounds))
    for _ in range(arguments.rounds):
        for child, results in found.items():
            results.append(measure(child, flags))

    def middle(child: str, key: str) -> float | None:
        values = [result[key] for result in found[child] if result[key] is not None]
        return statistics.median(values) if values else None

    report: Result = {key: getattr(arguments, key) for key in ("model", "width", "batch", "threads")}
    report |= {"cpu": cpu_name(), "sgemm_gflops": sgemm}
    rows = []
    for variant in VARIANTS:
        ms = {framework: middle(f"{framework}:{variant}", "median") for framework in frameworks}
        fastest = min(frameworks[1:], key=ms.get, default=None)
        report[variant] = {"ms": ms, "fastest": fastest, "ratio": ms["npl0"] / ms[fastest] if fastest else None}
        report[variant]["peak_mb"] = {
            framework: middle(f"{framework}:{variant}", "peak_mb") for framework in frameworks
        }
        for framework in frameworks:
            low = min(result["min"] for result in found[f"{framework}:{variant}"])
            rate = 2 * middle(f"npl0:{variant}", "macs") / ms[framework] / 1e6
            ratio = "" if framework == "npl0" else f"{ms['npl0'] / ms[framework]:.2f}{' *' * (framework == fastest)}"
            peak = f"{mb:.0f}" if (mb := report[variant]["peak_mb"][framework]) else ""
            rows.append([f"{variant}, {framework}", f"{low:.2f}", f"{ms[framework]:.2f}", ratio, f"{rate:.0f}", peak])
    if arguments.json:
        return print(json.dumps(report))
    print(f"{title(arguments)}, rounds: {arguments.rounds}; {report['cpu']}")
    print(table(["step", "min ms", "median ms", "npl0/it", "GFLOP/s", "peak MB"], rows))
    print("* the fastest form of PyTorch, with which npl0 is compared")
    print(f"sgemm, one product per thread as npl0 uses it: {sgemm:.0f} GFLOP/s. The GFLOP/s of a step count the")
    print("multiply-adds of dense matrix products; where npl0 convolves by Winograd it needs fewer.")


def main() -> None:
    """Read the command line, and act as the parent or as one child."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=tuple(WORKLOADS), default="lenet5")
    parser.add_argument("--width", type=float, default=1.0, metavar="X", help="factor of the channels of vgg16")
    numbers = {"--batch": (128, "images per step"), "--threads": (2, "threads of each framework")}
    numbers |= {"--rounds": (3, "processes per measurement")}
    for flag, (default, text) in numbers.items():
        parser.add_argument(flag, type=at_least_one, default=default, metavar="N", help=f"{text} (default {default})")
    for flag, text in {"steps": "timed steps per process", "warm-up": "untimed steps before them"}.items():
        few, many = (getattr(WORKLOADS[model], flag.replace("-", "_")) for model in ("vgg16", "lenet5"))
        text += f" (default {many}; vgg16: {few})"
        parser.add_argument(f"--{flag}", type=at_least_one, metavar="N", help=text)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object, not the table")
    output.add_argument("--profile", action="store_true", help="show where npl0 spends its step")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.width != 1 and not MODELS[arguments.model].scalable:
        parser.error(f"--width = {arguments.width:g} does not apply to {arguments.model}, which has one size")
    workload = WORKLOADS[arguments.model]
    arguments.steps, arguments.warm_up = arguments.steps or workload.steps, arguments.warm_up or workload.warm_up
    if arguments.child:
        print(json.dumps(run_child(arguments)))
    elif arguments.profile:
        for variant in VARIANTS:
            show_profile(variant, arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
