"""The parts of the site that are our own: docstrings and mathematics as Sphinx takes them, and the contents."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
pytest.importorskip("sphinx", reason="the site needs the extra docs")


@pytest.fixture
def part(monkeypatch):
    """Import a file of docs/site, or docs/conf.py."""
    monkeypatch.syspath_prepend(DOCS / "site")
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module


def test_a_docstring_becomes_lists_and_blocks_and_nothing_is_taken_for_markup(part):
    text = """Compute `y = a * b` of |w| and *args_.

    y = W x
    dW = dy x^T

Parameters
----------
a, b : the factors,
    of one shape; rate : in [0, 1).

Raises
------
ValueError
    If they differ.
"""
    made = part("docstrings").convert(text)
    assert "Compute ``y = a * b`` of \\|w\\| and \\*args\\_." in made
    assert "::\n\n    y = W x\n    dW = dy x^T" in made
    assert ".. rubric:: Parameters\n\n- ``a``, ``b``: the factors, of one shape\n- ``rate``: in [0, 1)." in made
    assert "- ``ValueError``: If they differ." in made


def test_mathematics_becomes_what_browsers_draw(part):
    pytest.importorskip("latex2mathml", reason="the site needs the extra docs")
    mathml = part("mathml").mathml
    made = mathml(r"\boxed{\sum_{i} \log\alpha}", "block")
    assert "menclose" not in made and 'class="boxed"' in made and "munder" in made and "mspace" in made
    assert mathml(r"\begin{bmatrix} 1 & 2 \cr 3 & 4 \end{bmatrix}", "block").count("mtr>") == 4


def test_every_page_is_in_the_tables_of_contents(part):
    conf = part("conf")
    listed = re.findall(r"^[\w/-]+$", conf.contents((DOCS / "index.md").read_text(encoding="utf-8")), re.MULTILINE)
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in (*DOCS.glob("*.md"), *DOCS.glob("tour/*.md"))}
    assert set(listed) == pages - {"index"} | {"api/index"} and len(listed) == len(set(listed))


def test_every_room_of_operations_is_in_the_reference():
    shown = re.findall(r"automodule:: npl0\.ops\.(\w+)", (DOCS / "api" / "ops.rst").read_text(encoding="utf-8"))
    assert set(shown) == {path.stem for path in (DOCS.parent / "npl0" / "ops").glob("*.py")} - {"__init__"}
