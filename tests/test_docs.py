"""What the pages say holds: code runs, commands parse, links lead somewhere, tables and names are those of the code."""

import ast
import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from npl0.cli.run import build_parser, resolve
from npl0.pruning.live import live_masks
from npl0.pruning.masks import masks_of
from npl0.runs.build import build_network
from npl0.settings.flags import Parser, settings_from
from npl0.settings.sections import build_config
from npl0.storage import load_model

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md")), ROOT / "experiments" / "README.md", ROOT / "CHANGELOG.md"]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
# docs/extending.md has a test of its own, since its code is of files that do not exist yet.
WITH_CODE = [page for page in PAGES if page.name != "extending.md"]

of_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
of_pages_with_code = pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text, kind):
    """Return the code blocks of a kind, each with the number of lines before it."""
    found = re.finditer(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


def anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@of_pages_with_code
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    # Later blocks may use the names of earlier ones, as a reader would; files go to a folder of their own.
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for lines_before, code in blocks(TEXTS[page], "python"):
        # Blank lines before the code make a traceback name the line of the page.
        exec(compile("\n" * lines_before + code, str(page), "exec"), names)
    for line in capsys.readouterr().out.splitlines():
        assert f"prints `{line}`" in " ".join(TEXTS[page].split())


def test_python_is_shown():
    shown = [page.name for page in WITH_CODE if blocks(TEXTS[page], "python")]
    assert shown == ["README.md", "command.md", "deep-networks.md", "deployment.md", "derivations.md"]


@of_pages_with_code
def test_the_toml_of_a_page_is_valid(page):
    for _, text in blocks(TEXTS[page], "toml"):
        settings = tomllib.loads(text)
        settings = {"model": "my_net", "network": settings} if "layers" in settings else settings
        assert build_network(build_config(settings)).weights


@of_pages_with_code
def test_the_commands_of_a_page_are_sound(page, tmp_path, monkeypatch):
    network = next(text for _, text in blocks(TEXTS[DOCS / "command.md"], "toml") if "layers" in text)
    (tmp_path / "my_net.toml").write_text(network, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^(?:\$ )?python (.*)$", TEXTS[page], re.MULTILINE):
        words = shlex.split(command, comments=True)
        if words[:2] == ["-m", "npl0.run"]:
            options = build_parser().parse_args(words[2:])
            resolve(settings_from(options), options.config, options.quick)
        elif words[:2] == ["-m", "npl0"]:
            assert parsed_by(words[2], words[3:])
        else:
            assert (ROOT / words[0]).is_file()


class Parsed(Exception):
    """Leaves a command once it has read its arguments."""


def parsed_by(command, arguments):
    """Return whether a command takes these arguments; it does not run."""
    parse_args = Parser.parse_args

    def parse(parser, *args):
        parse_args(parser, *args)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch, pytest.raises((Parsed, SystemExit)) as left:
        patch.setattr(Parser, "parse_args", parse)
        with contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(f"npl0.cli.{command}").main(arguments, "npl0")
    return left.type is Parsed


def test_a_wrong_command_is_found():
    assert parsed_by("eval", ["RUN", "--split", "train"])
    assert not parsed_by("eval", ["RUN", "--split", "tset"])


@of_pages
def test_a_page_has_no_gaps_and_its_links_lead_somewhere(page):
    text = TEXTS[page]
    assert "@@" not in text and "goes here" not in text
    for target in re.findall(r"\]\(([^):]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        path, _, anchor = "".join(target).partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), target


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            targets = re.findall(r"\]\(([^):#]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
            waiting += [(page.parent / target).resolve() for target in targets]
    assert {page for page in PAGES if page.parent == DOCS} <= seen


def test_the_readme_is_short():
    lines = TEXTS[README].splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []
    assert "pip install -e '.[test]' && python -m pytest" in lines


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_is_small(theme):
    figure = DOCS / "figures" / f"default-run-{theme}.svg"
    assert figure.read_text(encoding="utf-8").startswith("<?xml") and figure.stat().st_size < 150_000


def test_the_tables_of_the_command_are_those_of_the_code():
    script = ROOT / "experiments" / "make_command_page.py"
    made = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    # The generator reads the settings; that none is missing shows in the parser.
    shown = {flag for action in build_parser()._actions for flag in action.option_strings if flag.startswith("--")}
    assert sorted(flag for flag in shown - {"--help"} if f"`{flag}" not in TEXTS[DOCS / "command.md"]) == []


def test_the_table_of_results_is_that_of_the_run_folders():
    made = subprocess.run([sys.executable, ROOT / "experiments" / "results_table.py"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("\n") > 3 and made.stdout in TEXTS[DOCS / "results.md"]


def test_the_readmes_results_are_those_of_the_table():
    table = re.findall(r"^\| (?:LeNet-5|VGG-16).*$", TEXTS[README], re.MULTILINE)
    assert len(table) == 5
    numbers = {cell.strip() for line in table for cell in line.split("|")[3:8]} - {""}
    cells = {cell.strip() for line in TEXTS[DOCS / "results.md"].splitlines() for cell in line.split("|")}
    assert numbers <= cells


def test_the_log_counts_the_weights_on_no_path():
    network = load_model(ROOT / "experiments" / "results" / "main" / "lenet5-mnist-magnitude-df953ba2-s0")
    masks = masks_of(network)
    kept, paths = (sum(int(mask.sum()) for mask in some.values()) for some in (masks, live_masks(masks)))
    assert f"{paths:,} of {kept:,}: {1 - paths / kept:.0%}".replace("%", " %") in TEXTS[DOCS / "log.md"]


def names_in(path):
    """Return the variables, functions and classes that a file defines, and methods as `Class.method`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= {
                f"{node.name}.{item.name}"
                for item in node.body
                if isinstance(node, ast.ClassDef) and isinstance(item, ast.FunctionDef)
            }
    return found


def test_what_the_architecture_names_is_where_it_says():
    rows = re.findall(r"^\| .* \| (`[\w/.]+\.py`: .*) \|$", TEXTS[DOCS / "architecture.md"], re.MULTILINE)
    assert len(rows) > 50
    for row in rows:
        for path, names in re.findall(r"`([\w/.]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", row):
            missing = set(re.findall(r"`([\w.]+)`", names)) - names_in(ROOT / "npl0" / path)
            assert not missing, f"npl0/{path} has no {', '.join(missing)}"


@of_pages_with_code
def test_the_files_that_a_page_names_exist(page):
    for path in re.findall(r"`((?:npl0|experiments|tests|docs)/[\w/.]+)`", TEXTS[page]):
        assert (ROOT / path).exists(), path
    if page == README:
        files = re.findall(r"`((?:ops|pruning|training|nn)/\w+\.py)`", TEXTS[page])
        assert len(files) == 10 and all((ROOT / "npl0" / path).is_file() for path in files)
