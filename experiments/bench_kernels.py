"""Time every Numba kernel beside its NumPy reference: `python experiments/bench_kernels.py`.

The arrays are those of a training step. A kernel stays in npl0 only if it is faster than NumPy here. Kernel and
reference run in turn on one thread; a row shows the shortest and the median time of each in milliseconds, and the ratio
of the medians.

The reference of the transforms of `npl0.ops.winograd3x3` is the algorithm of `npl0.ops.winograd`: matrix products on
whole tiles, with im2col or col2im. It does the same work, but has the points of a tile on another axis.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from measuring import restart_if_kernel_is_forced
from npl0.nn.summary import table
from npl0.ops import conv, gated_weight, hard_concrete, norm, pool, update, winograd, winograd3x3
from npl0.runtime.threads import Workers
from npl0.settings.flags import Parser, at_least_one

EXAMPLES, WEIGHTS = 64, 430_500
# Channels and side of the maps of the fourth convolution of VGG-16.
CHANNELS, SIDE = 128, 16

Case = tuple[str, Callable[[], object], Callable[[], object]]


def lenet_cases(generator: np.random.Generator) -> list[Case]:
    """Return the cases of LeNet-5: (name, kernel, reference), where both calls compute the same."""

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32)

    image, small = normal(1, 28, 28, EXAMPLES), normal(20, 12, 12, EXAMPLES)
    columns, tiles = np.empty((1, 5, 5, 24, 24, EXAMPLES), np.float32), normal(20, 8, 8, 2, 2, EXAMPLES)
    maps = normal(20, 24, 24, EXAMPLES)
    pooled, winner = pool.maxpool_forward(maps, 2, 2)
    grad_maps, grad_small = np.empty_like(maps), np.empty_like(small)
    wide, wide_winner = np.empty((20, 8, 8, EXAMPLES), np.float32), np.empty((20, 8, 8, EXAMPLES), np.uint8)
    theta, log_alpha, grad, m, value = (normal(WEIGHTS) for _ in range(5))
    v, u = np.abs(normal(WEIGHTS)), generator.random(WEIGHTS, np.float32)
    z, weight, grad_theta, grad_log_alpha = (np.empty(WEIGHTS, np.float32) for _ in range(4))
    # With a learning rate of 0 the values stay the same from call to call.
    rate, momentum, rate1, rate2, epsilon, one, decay = (np.float32(x) for x in (0, 0.9, 0.1, 1e-3, 1e-8, 1, 0))

    def gates() -> np.ndarray:
        return theta * hard_concrete.sample(log_alpha, u)

    def gates_backward() -> tuple[np.ndarray, np.ndarray]:
        p = hard_concrete.open_probability(log_alpha)
        slope = hard_concrete.gate_backward(grad * theta, z)
        return grad * z, slope + hard_concrete.open_probability_backward(1e-4, p)

    gated_weight.gated_weight(theta, log_alpha, u, z, weight)
    adam = (rate, rate1, rate2, epsilon, one, decay)
    sgd = (rate, momentum, decay, True)
    return [
        (
            "im2col 5x5",
            lambda: conv.im2col_kernel(image, 1, 0, columns),
            lambda: conv.im2col_reference(image, 5, 5, 1, 0),
        ),
        (
            "col2im 8x8 stride 4",
            lambda: conv.col2im_kernel(tiles, 4, 0, grad_small),
            lambda: conv.col2im_reference(tiles, small.shape, 8, 8, 4, 0),
        ),
        (
            "max-pool 2x2",
            lambda: pool.maxpool_2x2_kernel(maps, 2, pooled, winner),
            lambda: pool.maxpool_reference(maps, 2, 2),
        ),
        (
            "max-pool 3x3 stride 3",
            lambda: pool.maxpool_kernel(maps, 3, 3, wide, wide_winner),
            lambda: pool.maxpool_reference(maps, 3, 3),
        ),
        (
            "max-pool backward",
            lambda: pool.maxpool_backward_kernel(pooled, winner, 2, 2, grad_maps),
            lambda: pool.maxpool_backward_reference(pooled, winner, maps.shape, 2, 2),
        ),
        ("gated weight", lambda: gated_weight.gated_weight(theta, log_alpha, u, z, weight), gates),
        (
            "gated weight backward",
            lambda: gated_weight.gated_weight_backward(grad, theta, log_alpha, z, 1e-4, grad_theta, grad_log_alpha),
            gates_backward,
        ),
        (
            "adam",
            lambda: update.adam_kernel(value, grad, m, v, *adam),
            lambda: update.adam_reference(value, grad, m, v, *adam),
        ),
        ("sgd", lambda: update.sgd_kernel(value, grad, m, *sgd), lambda: update.sgd_reference(value, grad, m, *sgd)),
    ]


def batchnorm_cases(generator: np.random.Generator) -> list[Case]:
    """Return the cases of batch norm."""
    x, grad_y = generator.standard_normal((2, CHANNELS, SIDE * SIDE * EXAMPLES), np.float32)
    y, grad_x = np.empty_like(x), np.empty_like(x)
    scale, shift = generator.standard_normal((2, CHANNELS), np.float32)
    mean, var, inverse_std, grad_scale, grad_shift = np.empty((5, CHANNELS), np.float32)
    statistics_of_x = (mean, inverse_std, scale)
    norm.batchnorm_kernel(x, scale, shift, norm.EPSILON, y, mean, var, inverse_std)
    return [
        (
            "batch norm",
            lambda: norm.batchnorm_kernel(x, scale, shift, norm.EPSILON, y, mean, var, inverse_std),
            lambda: norm.batchnorm_reference(x, scale, shift),
        ),
        (
            "batch norm backward",
            lambda: norm.batchnorm_backward_kernel(grad_y, x, *statistics_of_x, grad_x, grad_scale, grad_shift),
            lambda: norm.batchnorm_backward_reference(grad_y, x, *statistics_of_x),
        ),
    ]


def winograd_cases(generator: np.random.Generator, m: int) -> list[Case]:
    """Return the cases of the transforms of F(m x m, 3 x 3); as in training, a kernel call takes one row of tiles."""
    n, rows = m + 2, SIDE // m
    a_t, _, b_t = winograd.tile_matrices(m, 3, np.dtype(np.float32))
    x = generator.standard_normal((CHANNELS, SIDE, SIDE, EXAMPLES), np.float32)
    points = generator.standard_normal((n * n, CHANNELS, 1, rows * EXAMPLES), np.float32)
    their_points = generator.standard_normal((CHANNELS, n * n, rows * rows * EXAMPLES), np.float32)
    out = np.empty_like(x)

    def both_ways(names: tuple[str, str], window: int, padding: int, matrix: np.ndarray) -> list[Case]:
        tiles = np.empty((CHANNELS, window * window, their_points.shape[2]), np.float32)
        columns = tiles.reshape(CHANNELS, window, window, rows, rows, EXAMPLES)

        def to_points() -> None:
            for first in range(rows):
                winograd3x3.to_points_kernel(x, window, first, padding, points)

        def from_points() -> None:
            if window == n:
                out[...] = 0
            for first in range(rows):
                winograd3x3.from_points_kernel(points, window, first, padding, out)

        def to_points_reference() -> None:
            conv.im2col_kernel(x, m, padding, columns)
            np.matmul(matrix, tiles, out=their_points)

        def from_points_reference() -> None:
            np.matmul(matrix.T, their_points, out=tiles)
            conv.col2im_kernel(columns, m, padding, out)

        to_name, from_name = (f"F({m}x{m}, 3x3) {name}" for name in names)
        return [(to_name, to_points, to_points_reference), (from_name, from_points, from_points_reference)]

    return [
        *both_ways(("input", "input backward"), n, 1, b_t),
        *both_ways(("output backward", "output"), m, 0, a_t.T),
    ]


def milliseconds(call: Callable[[], object]) -> float:
    """Return the time of one call in milliseconds."""
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    """Time all cases and print the table."""
    restart_if_kernel_is_forced()
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=at_least_one, default=30, metavar="N", help="timed calls (default 30)")
    options = parser.parse_args()
    rows, generator = [], np.random.default_rng(0)
    cases = [*lenet_cases(generator), *batchnorm_cases(generator)]
    cases += [case for m in (4, 2) for case in winograd_cases(generator, m)]
    with Workers(1):
        for name, kernel, reference in cases:
            kernel(), reference()
            pairs = [(milliseconds(kernel), milliseconds(reference)) for _ in range(options.repeats)]
            ours, theirs = zip(*pairs, strict=True)
            medians = statistics.median(ours), statistics.median(theirs)
            times = [min(ours), medians[0], min(theirs), medians[1], medians[0] / medians[1]]
            rows.append([name, *(f"{value:.2f}" for value in times)])
    print(table(["", "kernel min", "median", "NumPy min", "median", "ratio"], rows))


if __name__ == "__main__":
    main()
