"""Count the lines of npl0 by room, and the imports between rooms: `python experiments/count_lines.py`.

Exits with code 1 if the core, the package or a file has more lines than it may. Blank lines and comments count.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "npl0"

# The one list of rooms: a room is a folder, or a file directly in npl0, and may import only rooms of lower floors.
FLOORS = {
    1: ("declare", "runtime"),
    2: ("ops",),
    3: ("nn",),
    4: ("pruning", "storage"),
    5: ("training", "data"),
    6: ("settings", "sparse"),
    7: ("gradcheck", "runs"),
    8: ("report",),
    9: ("cli",),
    10: ("__init__", "__main__", "run"),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
CORE = ("runtime", "ops", "nn", "pruning", "training")
# The package: 8,000 lines, 900 for reports and explanations of a run, 2,850 for the sparse runtime and its formats.
CORE_BUDGET, PACKAGE_BUDGET, FILE_BUDGET = 3800, 8000 + 900 + 2850, 300


def room_of(path: Path) -> str:
    """Return the room of a file of the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> Iterator[tuple[str, int]]:
    """Yield the room and the line of every import from npl0, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from npl0 import nn` imports a room.
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for package, room, *_ in (f"{module}.".split(".") for module in modules):
            # The version is a constant that every room may read.
            if package == "npl0" and room != "__version__":
                yield room if room in FLOOR_OF else "__init__", node.lineno


def main() -> int:
    """Print the counts, and return the exit code."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    lines = {path: source.count("\n") for path, source in sources.items()}
    totals = {room: sum(n for path, n in lines.items() if room_of(path) == room) for room in FLOOR_OF}
    for room, total in totals.items():
        print(f"{total:6,}  {room}{' (core)' if room in CORE else ''}")
    limits = [("core", sum(map(totals.get, CORE)), CORE_BUDGET), ("package", sum(lines.values()), PACKAGE_BUDGET)]
    limits += [(str(path.relative_to(PACKAGE)), n, FILE_BUDGET) for path, n in lines.items() if n > FILE_BUDGET]
    for name, count, budget in limits:
        print(f"{count:6,}  {name}, of at most {budget:,}")
    arrows = {(room_of(path), room) for path in sources for room, _ in imported_rooms(sources[path])}
    count = sum(start != end for start, end in arrows)
    print(f"{count} arrows of import between {len(FLOOR_OF)} rooms on {len(FLOORS)} floors")
    return int(any(count > budget for _, count, budget in limits))


if __name__ == "__main__":
    sys.exit(main())
