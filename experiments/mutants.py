"""Change npl0 in one place and see that a test fails, for many places: `python experiments/mutants.py --count 200`.

A mutant is the package with one operator, index, constant, condition or statement of `ops/`, `pruning/` or `training/`
changed. It dies if a fast test fails or hangs; a survivor shows which test is missing, unless the change changes
no result (an equivalent mutant). Mutants are drawn at random, the files taking turns. A second call does what is
missing in the file of results, whose column `why` is written by hand. Exits with code 1 if fewer than 95 % die.

Copies keep the times of files, so Numba's cache stays valid for all files but the changed one. Tests run in a fork of
this process, which has loaded the libraries: first those that name the changed file, then the others.
"""

import argparse
import ast
import csv
import importlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from itertools import accumulate, zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The fast tests, by floor; `SLOW` are words in the names of those among them that take seconds.
TESTS = ("ops", "nn", "pruning", "training", "settings", "gradcheck/test_gradcheck.py", "runs/test_fit.py")
SLOW = "prints_a_table ctrl_c vgg lenet"
COLUMNS = ("place", "original", "mutant", "outcome", "test", "why")

SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
SWAPS |= {ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
SWAPS |= {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SWAPS |= {ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And}
_PAIRS = "min max,minimum maximum,argmin argmax,floor ceil,any all,zeros ones,zeros_like ones_like"
NAMES = dict(pair.split() for pair in _PAIRS.split(","))
NAMES |= {value: key for key, value in NAMES.items()}
# A change of the text of a file, from byte `start` to byte `end`; the place is `file:line:column`.
Mutant = namedtuple("Mutant", "place original mutant start end")


def changes(node: ast.AST) -> Iterator[ast.AST | str]:
    """Yield what may stand in the place of a node: other nodes, or text."""

    def other(**fields: object) -> ast.AST:
        return type(node)(**vars(node) | fields)

    match node:
        case ast.BinOp(left=left, op=op) if type(op) in SWAPS:
            yield from (other(op=SWAPS[type(op)]()), left, *([node.right] * isinstance(op, ast.Add | ast.Sub)))
        case ast.AugAssign(op=op) if type(op) in SWAPS:
            yield from (ast.unparse(other(op=SWAPS[type(op)]())), "pass")
        case ast.UnaryOp():
            yield node.operand
        case ast.Compare(ops=[op, *rest]) if type(op) in SWAPS:
            yield other(ops=[SWAPS[type(op)](), *rest])
        case ast.BoolOp(op=op):
            yield other(op=SWAPS[type(op)]())
        case ast.IfExp(body=body, orelse=orelse):
            yield other(body=orelse, orelse=body)
        case ast.Constant(value=int(value) | float(value)):
            new = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 2 * value or 1.0
            yield other(value=new)
        case ast.keyword(arg="axis", value=ast.Constant(value=int(value))):
            yield f"axis={1 - value if value in (0, 1) else 0}"
        case ast.Call(func=ast.Attribute(attr="transpose" | "reshape" | "broadcast_to"), args=[first, second, *rest]):
            yield other(args=[second, first, *rest])
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield other(id=NAMES[name])
        case ast.Attribute(attr=name) if name in NAMES:
            yield other(attr=NAMES[name])
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Subscript()]):
            yield "pass"


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those below it, without messages, annotations, decorators and what only guards against slips."""
    yield node
    # -1 changes its sign only, for NumPy's reshape takes -2 for the same.
    if isinstance(node, ast.Raise | ast.JoinedStr) or isinstance(getattr(node, "operand", None), ast.Constant):
        return
    if getattr(node, "arg", "") in ("strict", "axis"):
        return
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                yield from nodes(child) if isinstance(child, ast.AST) else ()


def mutants_of(file: str) -> list[Mutant]:
    """Return every mutant of a file, first line to last."""
    source = (ROOT / file).read_bytes()
    lines, found = [0, *accumulate(map(len, source.splitlines(keepends=True)))], {}
    for node in nodes(ast.parse(source)):
        for change in changes(node):
            start, end = lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset
            text = change if isinstance(change, str) else f"({ast.unparse(change)})"
            place = f"{file}:{node.lineno}:{node.col_offset + 1}"
            found[start, text] = Mutant(place, source[start:end].decode(), text, start, end)
    return list(found.values())


def sample(count: int, seed: int) -> list[Mutant]:
    """Return a random sample of all mutants, in which the files take turns."""
    files = sorted(path for room in ("ops", "pruning", "training") for path in (ROOT / "npl0" / room).glob("*.py"))
    drawn = [mutants_of(path.relative_to(ROOT).as_posix()) for path in files]
    for path, mutants in zip(files, drawn, strict=True):
        random.Random(f"{seed} {path.name}").shuffle(mutants)
    return [mutant for turn in zip_longest(*drawn) for mutant in turn if mutant][:count]


def stages_of(file: str) -> list[list[str]]:
    """Return the fast tests: first those that name the file, then the others."""
    _, room, name = file.removesuffix(".py").split("/")
    paths = [ROOT / "tests" / folder for folder in TESTS]
    tests = [test for path in paths for test in ([path] if path.suffix else sorted(path.glob("test_*.py")))]
    names = {test: re.findall(rf"({room}\.)?\b{name}\b", test.read_text("utf-8")) for test in tests}
    near = [test for test in tests if any(names[test]) or (names[test] and test.parent.name == room)]
    stages = near, [test for test in tests if test not in near]
    return [[str(test.relative_to(ROOT)) for test in stage] for stage in stages if stage]


def run_tests(tree: Path, tests: list[str]) -> tuple[str, str]:
    """Run tests in a fork of this process; return `killed`, `hung` or `survived`, and the test that failed."""
    with tempfile.TemporaryFile() as log:
        if not (child := os.fork()):
            signal.alarm(1800)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            os.chdir(tree)
            sys.path.insert(0, str(tree))
            os.environ["PYTHONPATH"] = str(tree)
            flags = f"-x -q -rfE --tb=no --assert=plain -p no:cacheprovider -k not({' or '.join(SLOW.split())})"
            os._exit(pytest.main([*flags.split(maxsplit=8), *tests]))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log.seek(0)
        text = log.read().decode(errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", text, re.MULTILINE)
    if code > 0 and not failed:
        raise RuntimeError(f"pytest could not run {tests}: {text}")
    return {0: "survived", -signal.SIGALRM: "hung"}.get(code, "killed"), failed[1] if failed else ""


def judge(base: Path, mutant: Mutant) -> tuple[str, str]:
    """Run the tests of the changed file against a mutant, until one fails; return what `run_tests` does."""
    file, outcome = mutant.place.split(":")[0], ("survived", "")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(base, folder, copy_function=os.link, dirs_exist_ok=True)
        source = (base / file).read_bytes()
        Path(folder, file).unlink()
        Path(folder, file).write_bytes(source[: mutant.start] + mutant.mutant.encode() + source[mutant.end :])
        for tests in stages_of(file):
            if outcome[0] == "survived":
                outcome = run_tests(Path(folder), tests)
    return outcome


def main(argv: list[str] | None = None) -> int:
    """Judge the mutants that the file of results lacks, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="chooses the mutants")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments/results/mutants.csv", help="file of results")
    given = parser.parse_args(argv)
    for library in ("scipy.special", "numba", "threadpoolctl", "tqdm", "hypothesis"):
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder, given.out.open("a+", encoding="utf-8", newline="") as file:
        file.seek(0)
        known = {tuple(row[name] for name in COLUMNS[:3]): row for row in csv.DictReader(file)}
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not known:
            writer.writeheader()
        drawn = {mutant[:3]: mutant for mutant in sample(given.count, given.seed)}
        missing = [mutant for key, mutant in drawn.items() if key not in known]
        base = shutil.copytree(ROOT, Path(folder, "npl0"), ignore=shutil.ignore_patterns(".*", "venv"))
        # The tests must pass without a mutant; this also fills Numba's cache.
        for tests in stages_of("npl0/ops/loss.py") if missing else []:
            outcome, failed = run_tests(base, tests)
            if outcome != "survived":
                sys.exit(f"without a mutant: {outcome} by {failed or tests}")
        for mutant in missing:
            values = *mutant[:3], *judge(base, mutant), ""
            known[mutant[:3]] = dict(zip(COLUMNS, values, strict=True))
            writer.writerow(known[mutant[:3]])
            file.flush()
            print(len(known), *values, flush=True)
    alive = [known[key] for key in drawn if known[key]["outcome"] == "survived"]
    died, equivalent = 1 - len(alive) / len(drawn), sum(row["why"].startswith("equivalent") for row in alive)
    print(f"{died:.1%} of {len(drawn)} mutants died; {equivalent} of the {len(alive)} others are equivalent")
    return int(died < 0.95)


if __name__ == "__main__":
    sys.exit(main())
