"""Time a retraining step by kept weights alone and with dense arrays: `python experiments/bench_retraining.py RUN`.

A step is what `fit` does between two batches, forward, backward and optimiser included, for 128 random images of
the stored network of a run, held by `FixedMask`. The two ways take turns; shown are shortest and median wall time, and
the ratio of each.
"""

import statistics
import sys
import time
from contextlib import ExitStack

import numpy as np

import npl0
from measuring import restart_if_kernel_is_forced
from npl0.nn.summary import table
from npl0.runtime.threads import Workers, available_threads
from npl0.settings.flags import Parser, at_least_one
from npl0.sparse.layers import sparse_retraining
from npl0.training.loop import Stage
from npl0.training.recipe import Recipe

BATCH = 128


class Side:
    """One way to retrain."""

    def __init__(self, run: str, sparse: bool, blocks: ExitStack) -> None:
        self.network = npl0.load_model(run)
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (BATCH, *self.network.input_shape), np.uint8)
        self.labels = generator.integers(0, *self.network.output_shape, BATCH)
        self.pruner, self.stage = npl0.FixedMask(self.network), Stage("retrain", Recipe(epochs=1, batch_size=BATCH))
        self.optimizer, self.number, self.ms = self.stage.begin(self.pruner, 50_000), 0, list[float]()
        if sparse:
            blocks.enter_context(sparse_retraining(self.pruner))

    def step(self, workers: Workers) -> None:
        """Take a step, and note its time."""
        began, step = time.perf_counter(), self.stage.step(self.number, 391)
        self.pruner.write_weights(step)
        self.network.loss_and_gradients(self.images, self.labels, workers, (0, 1, self.number))
        self.pruner.read_gradients(step)
        self.optimizer.step(workers, step)
        self.pruner.after_step(step)
        self.ms.append(1e3 * (time.perf_counter() - began))
        self.number += 1


def main() -> int:
    """Print the table; return the exit code."""
    parser = Parser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run folder")
    parser.add_argument("--steps", type=at_least_one, default=20, help="steps of each side (default: 20)")
    parser.add_argument("--threads", type=at_least_one, default=available_threads(), help="threads (default: all)")
    options = parser.parse_args()
    restart_if_kernel_is_forced()
    rows = []
    for run in options.runs:
        with Workers(options.threads) as workers, ExitStack() as blocks:
            sides = [Side(run, sparse, blocks) for sparse in (False, True)]
            for _ in range(options.steps + 1):
                for side in sides:
                    side.step(workers)
            # The first step finds its memory.
            (least, usual), (less, median) = ((min(s.ms[1:]), statistics.median(s.ms[1:])) for s in sides)
            times = [f"{dense:.1f} / {sparse:.1f}" for dense, sparse in ((least, less), (usual, median))]
            rows.append([sides[0].network.name, *times, f"{less / least:.2f}", f"{median / usual:.2f}"])
    print(table(["network", "min ms, dense / kept", "median ms", "ratio of min", "of median"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
