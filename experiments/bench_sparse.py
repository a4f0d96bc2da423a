"""Time layers by their kept weights alone and densely: `python experiments/bench_sparse.py`, the source of `pays`.

For each shape and density it times forward and backward of one shard on one thread, as `bench_conv.py` does, and the
forward pass alone; the two ways take turns. A row shows the dense milliseconds (shortest), and the time of the sparse
way relative to it: below 1, it is faster. Processor time of the thread is counted, which other programs disturb less.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench_conv import SHAPES
from measuring import restart_if_kernel_is_forced
from npl0.nn.base import Context, Layer
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Linear
from npl0.nn.summary import table
from npl0.runtime.scratch import Memory, Scratch
from npl0.runtime.threads import Workers
from npl0.settings.flags import Parser, at_least_one
from npl0.sparse.layers import SparseConv2d, SparseLinear

DENSITIES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.05)
# Inputs and outputs of linear layers.
LINEAR = ((784, 300), (800, 500), (300, 100), (500, 10), (512, 512))


def passes(layer: Layer, x: np.ndarray, grad_y: np.ndarray, is_first: bool) -> tuple[Callable[[], Any], ...]:
    """Return the two to time: forward and backward, with what a step prepares, and forward alone."""
    scratch = Scratch(Memory())

    def step() -> None:
        context = Context(True, scratch, layer.prepare(scratch))
        layer.backward(grad_y, layer.forward(x, context)[1], context, not is_first)

    context = Context(False, Scratch(Memory()), layer.prepare())
    return step, lambda: layer.forward(x, context)


def row(name: str, layer: Layer, shape: tuple[int, ...], batch: int, repeats: int, is_first: bool) -> list[str]:
    """Time a layer at all densities."""
    generator = np.random.default_rng(0)
    layer.initialise(generator, np.dtype(np.float32))
    layer.bind(shape)
    x = generator.standard_normal((*shape, batch), np.float32)
    grad_y = generator.standard_normal((*layer.output_shape(shape), batch), np.float32)
    sparse = SparseConv2d if isinstance(layer, Conv2d) else SparseLinear
    masks = [generator.random(layer.weight.value.shape) < density for density in DENSITIES]
    sides = [passes(side, x, grad_y, is_first) for side in (layer, *(sparse(layer, mask) for mask in masks))]
    best = np.full((len(sides), 2), np.inf)
    for _ in range(1 + repeats):
        for i, both in enumerate(sides):
            for j, run in enumerate(both):
                began = time.thread_time()
                run()
                best[i, j] = min(best[i, j], time.thread_time() - began)
    ratios = [f"{step:.2f} {forward:.2f}" for step, forward in best[1:] / best[0]]
    return [name, layer.algorithm_used or "product", *(f"{1e3 * t:.2f}" for t in best[0]), *ratios]


def main() -> int:
    """Print the table; return the exit code."""
    parser = Parser(description=__doc__)
    parser.add_argument("--batch", type=at_least_one, default=64, help="examples in the shard (default: 64)")
    parser.add_argument("--repeats", type=at_least_one, default=20, help="times of each (default: 20)")
    options = parser.parse_args()
    restart_if_kernel_is_forced()
    header, rows = ["layer", "dense", "step, ms", "forward", *(f"{100 * d:.0f} %" for d in DENSITIES)], []
    with Workers():
        for s in SHAPES:
            layer = Conv2d(s.in_channels, s.out_channels, s.kernel_size, padding=s.padding)
            name = f"{s.name} {s.in_channels}-{s.out_channels} {s.side}x{s.side}"
            rows.append(row(name, layer, (s.in_channels, s.side, s.side), options.batch, options.repeats, s.is_first))
        for inputs, outputs in LINEAR:
            layer, name = Linear(inputs, outputs), f"linear {inputs}-{outputs}"
            rows.append(row(name, layer, (inputs,), options.batch, options.repeats, False))
    print(table(header, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
