"""docs/extending.md works as written: its files and edits go into a copy of the package, its commands run there."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from npl0 import CheckpointError, load_model

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"(?P<lead>[^\n]+(?:\n[^\n]+)*)\n\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CREATE = re.compile(r"reate `([^`]+)`:$")
# A line that holds backticks stands between double ones.
EDIT = re.compile(r"n `([^`]+)`, (before|after) the line (`{1,2})(?P<line>.+?) ?\3, add:$")
PAGES = ("docs/derivations.md", "docs/command.md")
# How many existing files of the package each kind of extension may touch.
LIMITS = {"A layer": 2, "A method": 3, "A model": 1, "A data set": 2}


def blocks_of(text):
    """Yield the paragraph before each code block on one line, the language, and the code."""
    for match in BLOCK.finditer(text):
        yield " ".join(match["lead"].split()), match["kind"], match["text"]


def sections():
    """Return the text of each section of the page by its title."""
    # Other headings of this level belong to the text of another page.
    parts = re.split(r"^## (A .+|Without .+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def apply(folder, lead, text):
    """Write the file, or insert the lines, that a paragraph asks for; return whether it asks for either."""
    if match := CREATE.search(lead):
        path = folder / match[1]
        assert not path.exists(), f"{match[1]} exists already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    elif match := EDIT.search(lead):
        path = folder / match[1]
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [i for i, line in enumerate(lines) if line.strip() == match["line"]]
        assert len(places) == 1, f"{match[1]} has the line {match['line']!r} {len(places)} times"
        lines.insert(places[0] + (match[2] == "after"), text)
        path.write_text("".join(lines), encoding="utf-8")
    else:
        return False
    return True


def run(folder, *arguments):
    """Run Python in the folder, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_console(folder, text):
    """Run the commands of a console block; the output shown is matched as by doctest, `...` for anything."""
    for command, shown in re.findall(r"^\$ python (.*)\n((?:[^$\n].*\n)*)", text, re.MULTILINE):
        printed = run(folder, *command.split())
        matches = doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert matches, f"{command} printed\n{printed}\nand not\n{shown}"


def test_the_page_works_as_it_is_written(tmp_path):
    # With the compiled kernels beside the files, where Numba finds them if their times are kept.
    shutil.copytree(ROOT / "npl0", tmp_path / "npl0")
    for name in (*PAGES, "experiments/make_command_page.py", "tests/test_derivations.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for lead, kind, text in blocks_of(PAGE):
        if not apply(tmp_path, lead, text):
            assert kind == "console", f"what is to be done with the block after {lead!r}?"
            run_console(tmp_path, text)
    assert len(list(blocks_of(PAGE))) == len(re.findall(r"^```\w", PAGE, re.MULTILINE)), "a block has no paragraph"
    # What tests of other pages ask of a new layer and method.
    chosen = "threshold or GELU or Fixed or check_is_named or same_equations or derived or mathematics"
    tests = ("tests/pruning/test_l1.py", "tests/test_derivations.py")
    assert "passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", chosen)
    assert "| `--l1-lambda` | L1 strength |" in (tmp_path / "docs/command.md").read_text(encoding="utf-8")
    # The file names a layer that this process does not know.
    with pytest.raises(CheckpointError, match="PReLU"):
        load_model(tmp_path / "pruned.npz")


@pytest.mark.parametrize("title", LIMITS)
def test_few_existing_files_are_touched(title):
    touched = {match[1] for lead, _, _ in blocks_of(sections()[title]) if (match := EDIT.search(lead))}
    if "make_command_page.py" in sections()[title]:
        touched.add("docs/command.md")
    assert 0 < len(touched - set(PAGES)) <= LIMITS[title]
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {title.split(' ', 1)[1]} |"))
    assert set(re.findall(r"`([^`]+)`", "".join(row.split("|")[3:]))) == touched
