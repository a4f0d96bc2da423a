"""docs/derivations.md and the code agree: names, checks, citations, matrices, and every block of Python."""

import importlib
import re
import sys
from fractions import Fraction
from functools import cache, reduce
from pathlib import Path

import numpy as np
import pytest

from npl0.gradcheck import CHECKS
from npl0.gradcheck.problems import Draw, GradientProblem
from npl0.ops.winograd import matrices
from npl0.runtime.threads import Workers

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "derivations.md").read_text(encoding="utf-8")
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:])
CODE = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ROOT.glob("npl0/**/*.py")}
CHECK = {check.name: check for check in CHECKS}
# These take seconds; tests/gradcheck runs them. Here their backward pass runs once, to see what it calls.
SLOW = {"small network", "small vgg", "lenet300", "lenet5", "l0 on the small vgg"}
# Cited for what has no equation to derive: the channels of VGG-16, and the shapes of learning-rate schedules.
NOT_DERIVED = {"Simonyan 2015", "Loshchilov 2017", "Smith 2018", "Han 2015"}

PAPER = r"([A-Z][a-z]+)(?:, [A-Z][a-z]+)*(?: & [A-Z][a-z]+| et al\.)? ((?:19|20)\d\d)\b"
PLACE = r"\b(eq\.|algorithm|section) (\d+(?:\.\d+)?)(?:-(\d+))?"

of_sections = pytest.mark.parametrize("section", SECTIONS)


def entries(section):
    """Return the list that ends a section, an entry a line: files with their functions, checks, and the source."""
    _, _, end = SECTIONS[section].partition("**In the code**\n\n")
    return re.sub(r"\n +", " ", end).strip().removeprefix("- ").split("\n- ")


def entry(section, start):
    """Return the entry that begins with this word, or an empty text."""
    return next((line for line in entries(section) if line.startswith(start)), "")


def named(section):
    """Return the pairs (file, name) that a section says hold its formulas."""
    found = [re.fullmatch(r"`(npl0/[\w/]+\.py)`: (.*)", line) for line in entries(section)]
    return [(match[1], name) for match in found if match for name in re.findall(r"`([\w.]+)`", match[2])]


def value_of(path, name):
    """Return what a name in a file of npl0 stands for."""
    return reduce(getattr, name.split("."), importlib.import_module(path.removesuffix(".py").replace("/", ".")))


def cited(text):
    """Return the citations of a text, such as `("Lavin 2016", "eq. 6")`; a place belongs to the paper named last."""
    found, paper = set(), None
    for match in re.finditer(f"{PAPER}|{PLACE}", " ".join(text.split())):
        author, year, kind, first, last = match.groups()
        if author:
            paper = f"{author} {year}"
            found.add((paper, ""))
        elif paper:
            numbers = range(int(first), int(last) + 1) if last else [first]
            found |= {(paper, f"{kind} {number}") for number in numbers}
    return {(paper, place) for paper, place in found if paper not in NOT_DERIVED}


@cache
def run(name):
    """Return the code of every Python function that a backward pass of a check calls, and whether the check passes."""
    check, seen = CHECK[name], set()
    with Workers(1) as workers:
        problem = check.build(Draw(np.random.default_rng(0), workers), *check.case)
        if isinstance(problem, GradientProblem):
            grad_y = np.random.default_rng(0).standard_normal(np.shape(problem.forward(*problem.arrays)[0]))
        sys.setprofile(lambda frame, event, _: seen.add(frame.f_code))
        try:
            problem.gradients(grad_y, *problem.arrays) if isinstance(problem, GradientProblem) else problem.tested()
        finally:
            sys.setprofile(None)
        return seen, name in SLOW or check.run(workers).passes()


@of_sections
def test_a_section_names_code_that_exists(section):
    assert named(section)
    for path, name in named(section):
        assert value_of(path, name) is not None


@of_sections
def test_the_checks_of_a_section_run_its_functions_and_pass(section):
    line = entry(section, "gradient checks: ")
    checks = re.findall(r"`([^`]+)`", line) if "none" not in line else []
    assert checks or line.startswith("gradient checks: none")
    codes = {name: getattr(value_of(path, name), "__code__", None) for path, name in named(section)}
    unseen = {code for name, code in codes.items() if checks and re.search(r"backward$|update$|gradients$", name)}
    for name in checks:
        seen, passes = run(name)
        assert seen & set(codes.values()), f"{name} runs nothing that the section names"
        unseen -= seen
        assert passes, name
    assert not unseen


def test_every_check_is_named_in_a_section():
    lines = " ".join(entry(section, "gradient checks: ") for section in SECTIONS)
    assert set(CHECK) <= set(re.findall(r"`([^`]+)`", lines))


def test_every_backward_pass_is_derived():
    defined = {
        (path, name)
        for path, text in CODE.items()
        if path.startswith("npl0/ops/")
        for name in re.findall(r"^def (\w+_backward|softmax_cross_entropy)\(", text, re.MULTILINE)
    }
    assert len(defined) > 12
    assert defined <= {pair for section in SECTIONS for pair in named(section)}


def test_code_and_page_cite_the_same_equations():
    in_code = {path: cited(text) for path, text in CODE.items()}
    on_page = {section: cited(entry(section, "source: ")) for section in SECTIONS}
    files = {section: {path for path, _ in named(section)} for section in SECTIONS}
    for path, citations in in_code.items():
        derived = {one for section in SECTIONS if path in files[section] for one in on_page[section]}
        assert citations <= derived, f"{path} cites what no section about it derives"
    for section, citations in on_page.items():
        assert citations <= {one for path in files[section] for one in in_code[path]}, section


def test_citations_are_found():
    text = "(Winograd 1980; Lavin & Gray 2016,\neq. 6). He et al. 2015, eq. 9-10, algorithm 1; section 2.2. May 2016."
    lavin, he = ("Lavin 2016", "eq. 6"), [("He 2015", place) for place in ("eq. 9", "eq. 10", "algorithm 1")]
    assert cited(text) >= {("Winograd 1980", ""), lavin, *he, ("He 2015", "section 2.2")}
    assert cited("eq. 3 alone") == set()
    assert sum(len(cited(text)) for text in CODE.values()) > 20


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (4, 5)])
def test_the_matrices_of_winograd_are_those_of_the_code(m, r):
    shown = re.findall(r"= \\begin{bmatrix}(.*?)\\end{bmatrix}", SECTIONS[f"Winograd F({m},{r})"], re.DOTALL)
    for text, matrix in zip(shown, matrices(m, r), strict=True):
        rows = [[float(Fraction(cell.strip())) for cell in row.split("&")] for row in text.split("\\cr")]
        np.testing.assert_allclose(rows, matrix, rtol=1e-15)


@of_sections
def test_the_python_of_a_section_runs_by_itself(section):
    for code in re.findall(r"^```python\n(.*?)^```$", SECTIONS[section], re.DOTALL | re.MULTILINE):
        assert code.count("\n") < 10 and "assert" in code
        exec(compile(code, section, "exec"), {})


def test_github_shows_the_mathematics():
    # GitHub reads a page as Markdown before it looks for mathematics: whatever means something in Markdown is lost or
    # ends a formula. So: no backslash before punctuation (rows end in \cr), no subscript behind a bracket, no list.
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    display = re.findall(r"^\$\$\n(.*?)^\$\$$", prose, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^\$\$\n.*?^\$\$$", "", prose, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(r"\$([^$\n]+)\$", rest)
    assert len(display) > 50 and len(inline) > 100
    assert "$" not in re.sub(r"(?<![^\s(])\$(?! )[^$\n]+(?<! )\$(?![^\s.,;:)])", "", rest), "a $ without its partner"
    markdown = re.compile(r"\\[^A-Za-z]|[^A-Za-z0-9]_|[<>*~]|\]\(|^[-+#] |^$", re.MULTILINE)
    unknown = re.compile(r"\\(operatorname|newcommand|def|tag|label|require|href)\b")
    for formula in display + inline:
        assert not markdown.search(formula.rstrip()) and not unknown.search(formula), formula
        assert formula.count("{") == formula.count("}")
