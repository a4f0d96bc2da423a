"""`python -m npl0 data`: download a data set, import a copy of one, and check which ones there are."""

import sys
from pathlib import Path
from typing import Any

from npl0 import data
from npl0.cli.guard import guard
from npl0.data.registry import DATASETS
from npl0.declare import suggest
from npl0.settings.flags import Parser

DOWNLOADED = tuple(name for name, source in DATASETS.items() if not source.place)
EPILOG = """\
The cache is the folder NPL0_DATA, else npl0 in the platform's cache folder. With NPL0_OFFLINE=1 nothing is downloaded.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted."""


def build_parser(prog: str = "python -m npl0 data") -> Parser:
    """Return the parser of the command."""
    parser = Parser(prog=prog, description="Download, import or check data sets.", epilog=EPILOG)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="download a data set into the cache")
    fetch.add_argument("name", metavar="NAME", help=f"data set: {', '.join(DOWNLOADED)}")
    take = actions.add_parser("import", help="check a copy of CIFAR-10 and put it into the cache, in place of its copy")
    take.add_argument("path", metavar="FILE-OR-FOLDER", help="cifar-10-binary.tar.gz, or a folder with the batch files")
    check = actions.add_parser("check", help="show which data sets there are, and whether they are the published ones")
    check.add_argument("name", metavar="NAME", nargs="?", help=f"one of {', '.join(DATASETS)} (default: all)")
    return parser


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 data") -> int:
    """Run the command; return its exit code."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    if (name := getattr(options, "name", None)) is not None and name not in DATASETS:
        parser.error(f"data set {name!r} is unknown: {suggest(name, DATASETS)}")

    def work() -> int | None:
        if options.action == "check":
            return _check([name] if name else list(DATASETS), name is not None, prog)
        return _import(Path(options.path)) if options.action == "import" else _fetch(name)

    return guard(work, prog, interrupted="interrupted; what was downloaded is kept and continued")


def _fetch(name: str) -> None:
    if place := DATASETS[name].place:
        print(f"{name} is {place}: there is nothing to download")
        return
    before = _place(name)
    dataset = data.load_dataset(name)
    print(_table(_row(name, dataset)))
    if before and not dataset.canonical:
        print(f"note: {before} was there already; delete it to download the published set", file=sys.stderr)


def _import(path: Path) -> None:
    from npl0.data.cifar10 import import_cifar10

    before = _place("cifar10")
    dataset = import_cifar10(path)
    print(_table(_row("cifar10", dataset)))
    if before:
        print(f"note: this copy took the place of the one that was in {before}", file=sys.stderr)
    if not dataset.canonical:
        print(f"note: {path} is not, byte for byte, the published set", file=sys.stderr)


def _check(names: list[str], must_exist: bool, prog: str) -> int:
    """Print a line for each set; return 1 if one is damaged, or is not there although it must be."""
    rows, failures = [], []
    for name in names:
        place = _place(name)
        try:
            if place is None:
                raise data.DataError(f"{name} is not in the cache: `python -m npl0 data fetch {name}` downloads it")
            rows.append(_row(name, data.load_dataset(name, offline=True)))
        except data.DataError as error:
            rows.append([name, place or "not downloaded", "-", "-", "-", "-"])
            if place or must_exist:
                failures.append(error)
    print(_table(*rows))
    for error in failures:
        print(f"{prog}: {error}", file=sys.stderr)
    return 1 if failures else 0


def _place(name: str) -> str | None:
    """Return where a set is, in words or as a path; None if it is not there."""
    if place := DATASETS[name].place:
        return place
    from npl0.data.cifar10 import cached_archive

    return str(path) if (path := cached_archive()).exists() else None


def _row(name: str, dataset: Any) -> list[str]:
    sizes = [f"{len(labels):,}" for labels in (dataset.train_labels, dataset.test_labels)]
    return [name, _place(name) or "-", "yes" if dataset.canonical else "no", dataset.fingerprint[:16], *sizes]


def _table(*rows: list[str]) -> str:
    from npl0.nn.summary import table

    return table(["data set", "where", "canonical", "fingerprint", "training", "test"], rows)
