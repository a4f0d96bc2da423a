"""Write the tour as a notebook, tour.ipynb, from its chapters: the pages are the source, and their outputs its outputs.

Usage: python docs/tour/notebook.py [--check | --run]    (needs jupytext, and nbclient to run; the extra `docs`)
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from figures import TOUR, blocks

NOTEBOOK = TOUR / "tour.ipynb"
PICTURE = re.compile(r'<picture>.*?<img src="(.*?)" alt="(.*?)">\s*</picture>', re.DOTALL)
OUTPUT = re.compile(r"(^```python\n.*?^```\n)\n```text\n.*?^```\n", re.DOTALL | re.MULTILINE)
SOLUTION = re.compile(r"<details>.*?</details>", re.DOTALL)


def cells_of(chapter: Path) -> Iterator[Any]:
    """Yield the cells of a chapter; solutions stay whole, as text that is hidden until it is opened."""
    shown = dict(blocks(chapter))
    text = PICTURE.sub(r"![\2](\1)", chapter.read_text(encoding="utf-8"))
    outside, solutions = SOLUTION.split(text), SOLUTION.findall(text)
    parts = [OUTPUT.sub(r"\1", outside[0])]
    for solution, after in zip(solutions, outside[1:], strict=True):
        parts += [f"<!-- #md -->\n{solution}\n<!-- #endmd -->", OUTPUT.sub(r"\1", after)]
    for number, cell in enumerate(jupytext.reads("".join(parts), fmt="md").cells):
        cell.id, cell.metadata = f"{chapter.stem[:2]}-{number}", {}
        if cell.cell_type == "code" and (text := shown[f"{cell.source}\n"]):
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        yield cell


def make() -> Any:
    """Return the notebook of all chapters."""
    cells = [cell for chapter in sorted(TOUR.glob("[0-9][0-9]-*.md")) for cell in cells_of(chapter)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it is out of date")
    action.add_argument("--run", action="store_true", help="write nothing; execute the notebook from top to bottom")
    options = parser.parse_args()
    text = nbformat.writes(notebook := make()) + "\n"
    if options.run:
        from nbclient import NotebookClient

        NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(TOUR)}}).execute()
    elif not options.check:
        NOTEBOOK.write_text(text, encoding="utf-8")
    elif not NOTEBOOK.exists() or NOTEBOOK.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{NOTEBOOK} is out of date: run python docs/tour/notebook.py")


if __name__ == "__main__":
    main()
