"""The tour runs as a reader would run it: every block of every chapter, its figures, its links, and one_evening.py."""

import ast
import importlib
import itertools
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

TOUR = Path(__file__).parent.parent / "docs" / "tour"
CHAPTERS = sorted(TOUR.glob("[0-9][0-9]-*.md"))
SCRIPT = TOUR / "one_evening.py"
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[-+]\d+)?")

of_chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch):
    """Run as in a Python that was started in docs/tour, with one thread for matrix products."""
    monkeypatch.chdir(TOUR)
    monkeypatch.syspath_prepend(TOUR)
    for name in ("one_evening", "figures"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with threadpool_limits(1):
        yield


def same(printed, shown):
    """Return whether two texts agree: words exactly, numbers to 15 %, as another processor may round otherwise."""
    if NUMBER.sub("#", " ".join(printed.split())) != NUMBER.sub("#", " ".join(shown.split())):
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    numbers = [[float(number.replace(",", "")) for number in pair] for pair in pairs]
    return all(abs(a - b) <= 0.15 * max(abs(a), abs(b)) + 1e-9 for a, b in numbers)


@of_chapters
def test_a_chapter_runs_and_prints_what_it_shows(chapter, tmp_path, capsys):
    figures = importlib.import_module("figures")
    names = {"__name__": "chapter"}
    for code, shown in figures.blocks(chapter):
        assert sum(bool(line.strip()) for line in code.splitlines()) < 25
        exec(compile(code, chapter.name, "exec"), names)
        printed = capsys.readouterr().out
        assert same(printed, shown) if shown is not None else not printed, f"printed\n{printed}and not\n{shown}"
    pytest.importorskip("matplotlib", reason="the figure of a chapter needs matplotlib, the extra plot")
    for theme in figures.THEMES:
        path = figures.draw(chapter.stem[:2], names, theme, tmp_path)
        assert path.stat().st_size > 1000


@of_chapters
def test_a_chapter_has_its_parts(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert text.count("<details>") == text.count("</details>") == 2
    exercises = re.sub(r"<details>.*?</details>", "", text.split("## Exercises")[1], flags=re.DOTALL)
    assert re.findall(r"^\d\. ", exercises, re.MULTILINE) == ["1. ", "2. "]
    assert text.count("<picture>") == 1
    for theme in ("light", "dark"):
        figure = TOUR.parent / "figures" / "tour" / f"{chapter.stem[:2]}-{theme}.svg"
        assert figure.stat().st_size < 150_000
    assert [line for line in text.splitlines() if len(line) > 130 and "<img" not in line] == []


@of_chapters
def test_the_links_of_a_chapter_lead_somewhere(chapter):
    text = chapter.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^):]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        path, _, anchor = "".join(target).partition("#")
        linked = (chapter.parent / path).resolve() if path else chapter
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    for path in re.findall(r"`((?:npl0|experiments|tests|docs)/[\w/.]+)`", text):
        assert (TOUR.parent.parent / path).exists(), path


def test_a_collapse_is_drawn(tmp_path):
    # The code of the page runs in test_docs.py; here its counts are made up.
    pytest.importorskip("matplotlib", reason="figures need matplotlib, the extra plot")
    figures = importlib.import_module("figures")
    counts = {name: SimpleNamespace(kept=[[100, 9], [40, 0]], accuracy=[0.5]) for name in ("collapsed", "rising")}
    assert "collapsed, rising = train" in next(figures.blocks(figures.PAGES["collapse"]))[0]
    assert figures.draw("collapse", counts, "light", tmp_path).stat().st_size > 1000


def test_the_notebook_is_that_of_the_chapters():
    # What `notebook.py --check` finds to the letter is found here without jupytext: code, outputs and lines of text.
    cells = json.loads((TOUR / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    made = [("".join(c["source"]) + "\n", c["outputs"]) for c in cells if c["cell_type"] == "code"]
    shown = [
        (code, [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else [])
        for chapter in CHAPTERS
        for code, text in importlib.import_module("figures").blocks(chapter)
        if code in chapter_without_solutions(chapter)
    ]
    assert made == shown, "run python docs/tour/notebook.py"
    lines = {line for c in cells for line in "".join(c["source"]).splitlines()}
    for chapter in CHAPTERS:
        text = re.sub(r"^```text\n.*?^```$", "", chapter_without_solutions(chapter), flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"<picture>.*?</picture>|```python|```", "", text, flags=re.DOTALL)
        assert set(text.splitlines()) - {""} <= lines, "run python docs/tour/notebook.py"


def chapter_without_solutions(chapter):
    return re.sub(r"<details>.*?</details>", "", chapter.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_chapters_lead_to_one_another():
    assert len(CHAPTERS) == 13
    for chapter, following in itertools.pairwise(CHAPTERS):
        last = chapter.read_text(encoding="utf-8").splitlines()[-1]
        assert last.startswith("Next: [") and last.endswith(f"({following.name})")


def test_the_evening_is_short_and_needs_numpy_alone():
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_a_short_evening(capsys):
    evening = importlib.import_module("one_evening")
    evening.RAMP, evening.LAMBDA, evening.GATE_RATE = 2, 2.0, 0.2
    with np.errstate(all="raise", under="ignore"):
        trained, pruned, retrained, compression = evening.main(n_train=2000, epochs=5, retrain_epochs=1)
    assert trained == pruned > 0.6 and retrained > 0.7 and compression > 2
    assert capsys.readouterr().out.count("epoch") == 6


@pytest.mark.slow
def test_a_whole_evening_keeps_its_promise():
    trained, pruned, retrained, compression = importlib.import_module("one_evening").main()
    assert trained == pruned
    assert retrained >= 0.98 and compression >= 60
