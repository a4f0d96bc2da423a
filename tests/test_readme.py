"""What the README says holds: its Python runs, its flags are those of the command, its links lead somewhere."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from npl0.cli.run import build_parser, resolve
from npl0.runtime.settings import allowed_range
from npl0.settings.flags import flag_name, settings_from
from npl0.settings.sections import SECTIONS, RunConfig

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "experiments" / "README.md"]


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


def flag_rows():
    """Return one row of the README's table of flags for every setting."""
    for name, section in {"": RunConfig, **SECTIONS}.items():
        for entry in dataclasses.fields(section):
            if entry.metadata:
                flag = flag_name(name, entry.name)
                allowed = allowed_range(entry.metadata)
                default = "" if entry.default == "" else f"`{entry.default}`"
                yield f"| `{flag}` | {entry.metadata['help']} | {allowed} | {default} |"


def test_the_readme_lists_every_flag_with_its_range_and_default():
    text = README.read_text(encoding="utf-8")
    assert [row for row in flag_rows() if row not in text] == []
    shown = {flag for action in build_parser()._actions for flag in action.option_strings if flag.startswith("--")}
    assert sorted(flag for flag in shown - {"--help"} if f"`{flag}`" not in text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_gaps_and_its_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    assert "@@" not in text and "goes here" not in text
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []
    assert targets or page != README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_sound(page):
    for line in re.findall(r"^(?:\$ )?python -m npl0\.run(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        options = build_parser().parse_args(shlex.split(line, comments=True))
        resolve(settings_from(options), options.config, options.quick)


def test_the_table_of_results_is_that_of_the_run_folders():
    made = subprocess.run([sys.executable, ROOT / "experiments" / "results_table.py"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("\n") > 3 and made.stdout in README.read_text(encoding="utf-8")
