"""A room of the package imports from lower floors and from itself; the core knows nothing of files and commands.

The list of rooms by floor is in `experiments/count_lines.py`.
"""

import ast
import io
import re
import runpy
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "npl0"
LISTED = runpy.run_path(str(ROOT / "experiments" / "count_lines.py"))
FLOOR_OF, CORE = LISTED["FLOOR_OF"], LISTED["CORE"]
room_of, imported_rooms, longest = LISTED["room_of"], LISTED["imported_rooms"], LISTED["FILE_BUDGET"]

MODULES = sorted(PACKAGE.rglob("*.py"))
STUBS = sorted(PACKAGE.rglob("*.pyi"))
FOLDERS = {room_of(path) for path in MODULES if path.parent != PACKAGE}
# What the core must not import, whatever the floors are.
OUTSIDE = ("settings", "runs", "cli", "data", "storage")


def breaches(room, source):
    """Return what is wrong with the imports of a file of a room, one text per import."""
    found = [
        f"line {node.lineno} has a relative import"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    for other, line in imported_rooms(source):
        if other != room and FLOOR_OF[other] >= FLOOR_OF[room] and room in FOLDERS:
            found.append(f"line {line} imports {other} (floor {FLOOR_OF[other]}) into {room} (floor {FLOOR_OF[room]})")
        if room in CORE and other in OUTSIDE:
            found.append(f"line {line} imports {other} into the core")
    return found


def flags_in(source):
    """Return the strings and comments of a source that contain a flag or a command line."""
    texts = (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        f"line {token.start[0]}: {token.string}"
        for token in tokens
        if token.type in texts and re.search(r"--[a-z]|python -m", token.string)
    ]


def bad_names(path, source):
    """Return the names of a file that do not say what they hold."""
    classes = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    bad = [name for name in classes if re.search("Manager|Helper|Util", name)]
    return bad + [path.name] * (path.stem in ("utils", "util", "helpers", "misc", "common"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_keeps_the_rules_of_its_room(path):
    room, source = room_of(path), path.read_text(encoding="utf-8")
    assert room in FLOOR_OF, f"npl0/{room} has no floor; list it in experiments/count_lines.py"
    assert breaches(room, source) == []
    if room in CORE:
        assert flags_in(source) == []
    assert bad_names(path, source) == []
    assert source.count("\n") <= longest
    assert ast.get_docstring(ast.parse(source)) or not source.strip(), "a module says what it is for"


@pytest.mark.parametrize("path", STUBS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_stub_lists_names_of_its_own_room(path):
    imports = ast.parse(path.read_text(encoding="utf-8")).body
    assert imports and all(isinstance(node, ast.ImportFrom) and node.level == 1 for node in imports)
    for node in imports:
        target = path.parent / node.module
        assert target.with_suffix(".py").exists() or (target / "__init__.py").exists()


def test_the_rooms_are_those_of_the_list():
    assert {room_of(path) for path in MODULES} == set(FLOOR_OF)
    seen = {room for path in MODULES for room, _ in imported_rooms(path.read_text(encoding="utf-8"))}
    assert seen >= FOLDERS - {"gradcheck"}, "the imports of some room were not seen"


def test_the_page_on_the_architecture_shows_these_floors():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = re.search(r"^\| *floor *\| *rooms? *\|.*\n\|[-| :]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table, "docs/architecture.md has no table with the columns floor, room"
    rows = re.findall(r"^\| *(\d+) *\|([^|]+)\|", table[1], re.MULTILINE)
    shown = {name: int(floor) for floor, names in rows for name in re.findall(r"`(?:npl0/)?(\w+)(?:\.py|/)?`", names)}
    # The three files on top may be left out.
    assert shown == {room: floor for room, floor in FLOOR_OF.items() if room in FOLDERS | shown.keys()}


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("nn", "from npl0.ops.conv import im2col", False),
        ("nn", "from npl0.runtime import rng", False),
        ("nn", "from npl0.nn.base import Layer", False),
        ("nn", "from npl0 import nn, ops", False),
        ("nn", "from npl0.pruning import L0", True),
        ("nn", "from npl0 import runs", True),
        ("nn", "import npl0", True),
        ("nn", "from .conv import Conv2d", True),
        ("ops", "import npl0.nn.layers", True),
        ("ops", "from npl0.runtime.threads import Workers", False),
        ("data", "def f():\n    from npl0.training import Recipe", True),
        ("data", "from npl0.storage.files import replacing", False),
        ("training", "from npl0.training.metrics import count_correct", False),
        ("training", "from npl0.storage.files import replacing", True),
        ("pruning", "from npl0.storage.files import replacing", True),
        ("sparse", "from npl0.settings.flags import Parser", True),
        ("runs", "from npl0 import __version__", False),
        ("runs", "from npl0 import L0", True),
        ("run", "from npl0.__main__ import main", False),
    ],
)
def test_a_breach_is_found(room, source, wrong):
    assert bool(breaches(room, source)) == wrong


def test_a_flag_in_a_text_is_found():
    assert len(flags_in('"""Set --width."""\nx = 1  # see python -m npl0\ny = f"{x} --lr"\n')) == 3
    assert flags_in('"""A -- b, and a - b."""\nx = 3\nx = x --x\n') == []


def test_a_bad_name_is_found():
    assert bad_names(Path("utils.py"), "class DataManager:\n    pass\n") == ["DataManager", "utils.py"]
    assert bad_names(Path("loop.py"), "class Stage:\n    pass\n") == []
