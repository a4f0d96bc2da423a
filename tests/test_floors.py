"""The order of the house: a file imports only from lower floors and from its own folder."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "npl0"

# A folder, or a file of the package itself, and its floor; what is new must be given its place here.
FLOORS = {
    "ops": 0,
    "parameter": 0,
    "config": 0,
    "section": 0,
    "presets": 0,
    "settings_file": 0,
    "rng": 0,
    "files": 0,
    "lock": 0,
    "command": 0,
    "memory": 0,
    "parallel": 0,
    # Imports nothing at run time: it hands out the names of `api` when they are asked for.
    "__init__": 0,
    "nn": 1,
    "optim": 1,
    "data": 1,
    "flags": 1,
    "show": 1,
    "pruning": 2,
    "warm_up": 2,
    "train": 3,
    "metrics": 3,
    "checkpoint": 3,
    "model_file": 3,
    "image_file": 3,
    "record": 3,
    "result": 3,
    "start": 3,
    "methods": 3,
    "pipeline": 4,
    "api": 4,
    "run": 5,
    "progress": 5,
    "inspect_model": 5,
    "data_command": 5,
    "gradcheck": 5,
    "__main__": 6,
}
LONGEST = 300

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module):
    """Return the folder or file under npl0 that a dotted name belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(tree):
    """Yield the rooms of npl0 that a file imports from, inside functions too, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                (room_of(alias.name), node.lineno) for alias in node.names if alias.name.split(".")[0] == "npl0"
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            if node.module == "npl0":
                # `from npl0.runtime import rng` is a room, `from npl0 import __version__` is not.
                yield from ((a.name if a.name in FLOORS else "__init__", node.lineno) for a in node.names)
            elif node.module.split(".")[0] == "npl0":
                yield room_of(node.module), node.lineno


def breaches(room, source):
    """Return what a file of a room imports against the order."""
    return [
        f"line {line} imports {other} (floor {FLOORS[other]})"
        for other, line in imports_of(ast.parse(source))
        if FLOORS[other] > FLOORS[room] or (FLOORS[other] == FLOORS[room] and {other, room} & FOLDERS and other != room)
    ]


FOLDERS = {path.parent.name for path in MODULES if path.parent != PACKAGE}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_keeps_to_its_floor_and_size(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in FLOORS, f"npl0/{room} has no floor; give it one in the table of this test"
    source = path.read_text(encoding="utf-8")
    # `__init__` is the door to the upper floors, and opens them only while it is used.
    if room != "__init__":
        assert breaches(room, source) == []
    assert source.count("\n") <= LONGEST
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
    assert ast.get_docstring(ast.parse(source)) or not source.strip(), "a module says what it is for"


def test_the_whole_house_was_seen():
    assert len(MODULES) > 30
    seen = {room for path in MODULES for room, _ in imports_of(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"ops", "nn", "pruning", "train", "pipeline", "rng"} <= seen


def test_the_page_on_the_architecture_shows_these_floors():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", page, re.MULTILINE)
    shown = {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)/?`", names)}
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert shown == {room: FLOORS[room] for room in rooms - {"__init__"}}


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("nn", "from npl0.ops.conv import im2col", False),
        ("nn", "from npl0.runtime import rng", False),
        ("nn", "from npl0.nn.layers import Layer", False),
        ("nn", "from npl0.pruning import L0", True),
        ("nn", "from npl0 import pipeline", True),
        ("ops", "import npl0.nn.layers", True),
        ("ops", "from npl0.runtime.threads import Workers", True),
        ("data", "def f():\n    from npl0.nn import Network", True),
        ("train", "from npl0.training.metrics import count_correct", False),
        ("optim", "from npl0.nn import Network", True),
    ],
)
def test_a_breach_is_found(room, source, wrong):
    assert bool(breaches(room, source)) == wrong
