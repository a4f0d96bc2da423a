"""Compare the training steps of two clones of npl0: `python experiments/compare_step.py OLD [NEW]`.

Each clone runs its own `experiments/npl0_step.py` in its own process, and the two take turns at every step, so that
both meet the same load. The table shows the shortest and the median step in milliseconds, and the ratios of new to old.
The last column is the ratio of the median CPU times, which depends less on what else the machine does.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from measuring import own_kernel_environment
from npl0.cli.tables import table
from npl0.settings.flags import Parser, at_least_one
from step_setting import VARIANTS

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"lenet5": 1.0, "vgg16": 0.25}
WARM_UP = 5

# It runs in the folder of a clone and imports the code there; for every line that it reads, it takes a step.
CHILD = """
import sys, time
sys.path[:0] = [".", "experiments"]
from npl0_step import npl0_step
from step_setting import Setting
_, model, variant, threads, batch, width = sys.argv
parts = npl0_step(Setting(model, variant, int(threads), int(batch), float(width)))[1].values()
for i, _ in enumerate(sys.stdin):
    wall, cpu = time.perf_counter(), time.process_time()
    for part in parts:
        part(i)
    print(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu), flush=True)
"""


def measure(clones: list[Path], steps: int, *setting: object) -> list[list[tuple[float, ...]]]:
    """Return wall and processor time in ms of every step of each clone; `setting` holds the fields of `Setting`."""
    command = [sys.executable, "-c", CHILD, *map(str, setting)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": own_kernel_environment()}
    children = [subprocess.Popen(command, cwd=clone, **options) for clone in clones]
    times: list[list[tuple[float, ...]]] = [[] for _ in clones]
    for _ in range(WARM_UP + steps):
        for child, found in zip(children, times, strict=True):
            print(file=child.stdin, flush=True)
            if not (line := child.stdout.readline()):
                sys.exit(f"the step failed in {clones[children.index(child)]}")
            found.append(tuple(map(float, line.split())))
    for child in children:
        child.communicate()
    return [found[WARM_UP:] for found in times]


def main() -> None:
    """Measure every step in both clones, and print the table."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD", help="the clone to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", nargs="?", default=ROOT, help="default: this clone")
    numbers = {"--steps": (100, "timed steps"), "--threads": (2, "threads"), "--batch": (128, "images per step")}
    for flag, (default, text) in numbers.items():
        parser.add_argument(flag, type=at_least_one, default=default, metavar="N", help=f"{text} (default {default})")
    arguments = parser.parse_args()
    rows = []
    for model, width in MODELS.items():
        for variant in VARIANTS:
            setting = (model, variant, arguments.threads, arguments.batch, width)
            old, new = (
                list(zip(*t, strict=True)) for t in measure([arguments.old, arguments.new], arguments.steps, *setting)
            )
            row = []
            for summary, column in ((min, 0), (statistics.median, 0), (statistics.median, 1)):
                times = summary(old[column]), summary(new[column])
                row += [*times, times[1] / times[0]]
            rows.append([f"{model} at width {width:g}, {variant}", *(f"{value:.2f}" for value in [*row[:6], row[-1]])])
    print(table(["step", "old min", "new min", "ratio", "old median", "new median", "ratio", "CPU ratio"], rows))


if __name__ == "__main__":
    main()
