"""Test npl0 with the lowest and the newest versions of what it needs: `python experiments/versions.py`.

Each set of versions gets a virtual environment of its own, with the Pythons given by `--python` (default: this one).
The lowest versions are those that setup.py declares; with a Python for which one of them has no wheel, the lowest that
installs counts. Prints a table in Markdown, and exits with code 1 if the tests fail somewhere.
"""

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    "tests",
    "-m",
    "not slow",
    "-q",
    "-x",
    "-p",
    "no:cacheprovider",
    "--deselect",
    "tests/runs/test_stored_logs.py",
]


def declared() -> dict[str, str]:
    """Return the lowest version of each requirement in setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    keywords = {k.arg: k.value for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords}
    return dict(requirement.split(">=") for requirement in ast.literal_eval(keywords["install_requires"]))


def try_versions(python: str, pins: list[str], folder: Path) -> tuple[str, str, bool]:
    """Install npl0 with these pins and run its tests; return versions, the outcome in words, and whether it passed."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    inside = str(folder / "bin" / "python")
    install = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{ROOT}[test]", *pins]
    done = subprocess.run(install, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        return "", f"cannot be installed: {done.stderr.strip().splitlines()[-1]}", False
    listed = subprocess.run([inside, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True).stdout
    found = {name.replace("_", "-"): number for name, number in re.findall(r"^([\w-]+)==(.+)$", listed, re.MULTILINE)}
    versions = ", ".join(f"{name} {found[name]}" for name in declared())
    version = subprocess.run([inside, "--version"], capture_output=True, text=True).stdout.split()[1]
    tests = subprocess.run([inside, "-m", "pytest", *TESTS], cwd=ROOT, capture_output=True, text=True)
    outcome = "pass" if tests.returncode == 0 else next(iter(re.findall("^FAILED.*|^ERROR.*", tests.stdout, re.M)), "?")
    return f"{version} | {versions}", outcome, tests.returncode == 0


def main() -> int:
    """Try every set of versions, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="PATH", help="Pythons to try")
    parser.add_argument("--only", choices=("lowest", "newest"), help="one of the two sets of versions")
    options = parser.parse_args()
    print("| Python | versions | tests |\n|---|---|---|")
    failed = False
    for python in options.python:
        for name, pins in {"lowest": [f"{k}=={v}" for k, v in declared().items()], "newest": []}.items():
            if options.only in (None, name):
                with tempfile.TemporaryDirectory() as folder:
                    versions, outcome, passed = try_versions(python, pins, Path(folder))
                print(f"| {versions or f'{python} | {name}'} | {outcome} |", flush=True)
                failed |= not passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
