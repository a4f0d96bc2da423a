"""Every block of Python in the README runs as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    text = README.read_text(encoding="utf-8")
    blocks = [
        (match.start(1), match[1]) for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]
    assert blocks, "the README shows no Python"
    # Later blocks may use the names of earlier ones, as a reader would; files go to a folder of their own.
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    for start, code in blocks:
        # Blank lines before the code make a traceback name the line of the README.
        exec(compile("\n" * text.count("\n", 0, start) + code, str(README), "exec"), names)
