"""Compare the training step of two clones of npl0: `python experiments/compare_step.py OLD [NEW]`.

Each clone runs its own `experiments/bench_training.py` on its own code, one process per measurement. The clones take
turns, so that both meet the same load. A row shows the shortest step of all rounds, the median over the rounds of the
median step, in milliseconds, and the ratios of new to old. On a busy machine only the shortest steps can be compared.
"""

import statistics
from pathlib import Path

from bench_training import ROOT, measure
from npl0.nn.summary import table
from npl0.settings.flags import Parser, at_least_one
from step_setting import VARIANTS

STEPS = {
    "lenet5": ["--model=lenet5"],
    "vgg16 at width 0.25": ["--model=vgg16", "--width=0.25", "--steps=10"],
}


def main() -> None:
    """Measure every step in both clones, and print the table."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD", help="the clone to compare with")
    parser.add_argument(
        "new", type=Path, metavar="NEW", nargs="?", default=ROOT, help="default: this clone"
    )
    parser.add_argument("--threads", type=at_least_one, default=2, metavar="N", help="threads (default 2)")
    parser.add_argument("--rounds", type=at_least_one, default=5, metavar="N", help="processes each (default 5)")
    arguments = parser.parse_args()
    clones = [clone.resolve() for clone in (arguments.old, arguments.new)]
    rows = []
    for name, flags in STEPS.items():
        for variant in VARIANTS:
            found: dict[int, list[dict]] = {0: [], 1: []}
            for _ in range(arguments.rounds):
                for i, clone in enumerate(clones):
                    found[i].append(measure(f"npl0:{variant}", [*flags, f"--threads={arguments.threads}"], clone))
            low = [min(result["min"] for result in results) for results in found.values()]
            middle = [statistics.median(result["median"] for result in results) for results in found.values()]
            times = [*low, low[1] / low[0], *middle, middle[1] / middle[0]]
            rows.append([f"{name}, {variant}", *(f"{value:.2f}" for value in times)])
    print(table(["step", "old min", "new min", "ratio", "old median", "new median", "ratio"], rows))


if __name__ == "__main__":
    main()
