"""Time Conv2d by im2col and by Winograd: `python experiments/bench_conv.py`, the source of `Conv2d.winograd_tile`.

For every shape it times forward and backward of one shard on one thread, with the weight transform that a step does
once. Winograd runs as in `Conv2d`: separable transforms for 3 x 3 kernels (`npl0.ops.winograd3x3`), matrix products for
others (`npl0.ops.winograd`). Every tile that divides the output is tried, so a 4 x 4 map has two candidates and a 2 x 2
map has F(2x2, 3x3) only. The first layer of a network needs no input gradient and is timed without it. The algorithms
take turns. A row shows the shortest and the median time, the ratio of the median to that of im2col, and the largest
difference of y relative to the largest |y|.
"""

import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np

from measuring import restart_if_kernel_is_forced
from npl0.nn.base import Context
from npl0.nn.conv import Conv2d
from npl0.nn.summary import table
from npl0.ops import winograd
from npl0.runtime.scratch import Memory, Scratch
from npl0.runtime.threads import Workers
from npl0.settings.flags import Parser, at_least_one


@dataclass(frozen=True)
class Shape:
    """A convolution with stride 1; `side` is that of its square input, in pixels."""

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int
    side: int
    is_first: bool = False


SHAPES = (
    Shape("LeNet-5 conv1", 1, 20, 5, 0, 28, is_first=True),
    Shape("LeNet-5 conv2", 20, 50, 5, 0, 12),
    Shape("VGG", 3, 64, 3, 1, 32, is_first=True),
    Shape("VGG", 64, 64, 3, 1, 32),
    Shape("VGG", 64, 128, 3, 1, 16),
    Shape("VGG", 128, 128, 3, 1, 16),
    Shape("VGG", 128, 256, 3, 1, 8),
    Shape("VGG", 256, 256, 3, 1, 8),
    Shape("VGG", 256, 512, 3, 1, 4),
    Shape("VGG", 512, 512, 3, 1, 4),
    Shape("VGG", 512, 512, 3, 1, 2),
    # With few channels, transforms and products cost about the same; a side of 14 fits only tiles of 2.
    Shape("few", 4, 32, 5, 0, 12),
    Shape("few", 8, 32, 5, 0, 12),
    Shape("few", 8, 32, 3, 1, 16),
    Shape("few", 16, 32, 3, 1, 16),
    Shape("few", 16, 32, 3, 1, 14),
    Shape("few", 32, 64, 3, 1, 14),
)


class Candidate:
    """A convolution of random data by one algorithm.

    Parameters
    ----------
    shape : the convolution.
    tile : m of F(m x m, r x r), or 0 for im2col.
    batch : the number of examples in the shard.
    """

    def __init__(self, shape: Shape, tile: int, batch: int) -> None:
        self.shape, self.context = shape, Context(training=True, new=Scratch(Memory()))
        algorithm = "winograd" if tile else "im2col"
        settings = {"padding": shape.padding, "algorithm": algorithm}
        self.conv = Conv2d(shape.in_channels, shape.out_channels, shape.kernel_size, **settings)
        generator = np.random.default_rng(0)
        self.conv.initialise(generator, np.dtype(np.float32))
        out_shape = self.conv.output_shape((shape.in_channels, shape.side, shape.side))
        # Conv2d takes the largest tile that fits; here every fitting tile is tried.
        self.conv.tile = tile
        self.x = generator.standard_normal((shape.in_channels, shape.side, shape.side, batch), np.float32)
        self.grad_y = generator.standard_normal((*out_shape, batch), np.float32)
        self.times: list[float] = []

    def step(self) -> np.ndarray:
        """Run forward and backward, record the time in ms, and return y, which is scratch memory."""
        began = time.perf_counter()
        self.context.prepared = self.conv.prepare(self.context.new)
        y, cache = self.conv.forward(self.x, self.context)
        self.conv.backward(self.grad_y, cache, self.context, need_grad_x=not self.shape.is_first)
        self.times.append(1e3 * (time.perf_counter() - began))
        return y


def fitting_tiles(shape: Shape) -> list[int]:
    """Return 0 for im2col, then the tiles that Winograd could use for a shape."""
    out_side = shape.side + 2 * shape.padding - shape.kernel_size + 1
    return [0, *(m for m in (2, 4) if not out_side % m and winograd.supports(shape.kernel_size, 1, m))]


def automatic_tile(shape: Shape) -> int:
    """Return the tile that `Conv2d.winograd_tile` chooses for a shape."""
    conv = Conv2d(shape.in_channels, shape.out_channels, shape.kernel_size, padding=shape.padding)
    conv.bind((shape.in_channels, shape.side, shape.side))
    return conv.tile


def algorithm_name(tile: int, kernel_size: int) -> str:
    """Return the name of an algorithm in the table."""
    return f"F({tile}x{tile}, {kernel_size}x{kernel_size})" if tile else "im2col"


def measure(shape: Shape, batch: int, repeats: int) -> tuple[list[list[str]], str]:
    """Time all algorithms on one shape; return the rows of the table, and a line if the rule chooses a slower one."""
    candidates = {tile: Candidate(shape, tile, batch) for tile in fitting_tiles(shape)}
    first_y = {tile: candidate.step().copy() for tile, candidate in candidates.items()}
    for candidate in candidates.values():
        # The first step compiled the kernels and mapped the scratch memory.
        candidate.times.clear()
    for _ in range(repeats):
        for candidate in candidates.values():
            candidate.step()
    medians = {tile: statistics.median(candidate.times) for tile, candidate in candidates.items()}
    chosen, fastest = automatic_tile(shape), min(medians, key=medians.get)
    size = f"{shape.kernel_size}x{shape.kernel_size} @{shape.side}"
    title = f"{shape.name} {shape.in_channels}->{shape.out_channels} {size}"
    rows = []
    for tile, candidate in candidates.items():
        difference = np.abs(first_y[tile] - first_y[0]).max() / np.abs(first_y[0]).max()
        rows.append(
            [
                title if tile == 0 else "",
                algorithm_name(tile, shape.kernel_size),
                f"{min(candidate.times):.2f}",
                f"{medians[tile]:.2f}",
                f"{medians[tile] / medians[0]:.2f}",
                f"{difference:.0e}" if tile else "",
                "auto" if tile == chosen else "",
                "fastest" if tile == fastest else "",
            ]
        )
    if chosen == fastest:
        return rows, ""
    names = [algorithm_name(tile, shape.kernel_size) for tile in (chosen, fastest)]
    return rows, f"{title}: auto takes {names[0]}, {medians[chosen] / medians[fastest]:.2f} times as long as {names[1]}"


def main() -> None:
    """Measure all shapes, and print the table and the shapes for which the rule is not the fastest."""
    restart_if_kernel_is_forced()
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=at_least_one, default=64, metavar="N", help="examples per shard (default 64)")
    parser.add_argument("--repeats", type=at_least_one, default=9, metavar="N", help="timed steps (default 9)")
    arguments = parser.parse_args()
    rows, complaints = [], []
    # Inside Workers(1), BLAS runs on one thread.
    with Workers(1):
        for number, shape in enumerate(SHAPES, 1):
            print(f"shape {number} of {len(SHAPES)}", file=sys.stderr)
            shape_rows, complaint = measure(shape, arguments.batch, arguments.repeats)
            rows.extend(shape_rows)
            complaints.extend([complaint] if complaint else [])
    print(f"forward and backward of a shard of {arguments.batch}, one thread, {arguments.repeats} repeats, ms")
    header = ["shape", "algorithm", "min", "median", "to im2col", "difference of y", "rule", "measured"]
    print(table(header, rows))
    print("\n".join(complaints) if complaints else "the rule takes the fastest algorithm for every shape")


if __name__ == "__main__":
    main()
