"""`python -m npl0 data`: download a data set, import a copy of one, and check which there are."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from npl0.cli.guard import guarded
from npl0.settings.flags import Parser
from npl0.settings.sections import DATA_NAMES, suggest

# Heavy imports wait inside the functions, so that help and usage errors are quick.
if TYPE_CHECKING:
    from npl0.data import Dataset

# What the sets are that need no cache.
_INCLUDED = {"mnist": "inside the package", "synthetic": "made when asked for"}

EPILOG = """\
The cache is the folder NPL0_DATA, else npl0 in the platform's cache folder. With NPL0_OFFLINE=1 nothing is downloaded.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted."""


def build_parser(prog: str = "python -m npl0 data") -> Parser:
    """Return the parser of the command."""
    parser = Parser(prog=prog, description="Download, import or check data sets.", epilog=EPILOG)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="download a data set into the cache")
    fetch.add_argument("name", metavar="NAME", help="data set: cifar10")
    take = actions.add_parser(
        "import", help="check a copy of CIFAR-10 and put it into the cache, in the place of what is there"
    )
    take.add_argument("path", metavar="FILE-OR-FOLDER", help="cifar-10-binary.tar.gz, or a folder with the batch files")
    check = actions.add_parser("check", help="show which data sets there are, and whether they are the published ones")
    check.add_argument("name", metavar="NAME", nargs="?", help=f"one of {', '.join(DATA_NAMES)} (default: all)")
    return parser


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 data") -> int:
    """Run the command; return its exit code."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    name = getattr(options, "name", None)
    if name is not None and name not in DATA_NAMES:
        parser.error(f"data set {name!r} is unknown: {suggest(name, DATA_NAMES)}")
    from npl0.data import DataError

    def work() -> int | None:
        if options.action == "check":
            return _check(DATA_NAMES if name is None else [name], name is not None, prog)
        return _import(Path(options.path)) if options.action == "import" else _fetch(name)

    return guarded(work, prog, DataError, interrupted="interrupted; what was downloaded is kept and continued")


def _fetch(name: str) -> None:
    from npl0.data import load_dataset

    if name in _INCLUDED:
        print(f"{name} is {_INCLUDED[name]}: there is nothing to download")
        return
    there = _where(name) is not None
    dataset = load_dataset(name)
    print(_table([_row(dataset)]))
    if there and not dataset.canonical:
        print(f"note: {_where(name)} was there already; delete it to download the published set", file=sys.stderr)


def _import(path: Path) -> None:
    from npl0.data.cifar10 import import_cifar10

    replaced = _where("cifar10")
    dataset = import_cifar10(path)
    print(_table([_row(dataset)]))
    if replaced:
        print(f"note: this copy took the place of the one that was in {replaced}", file=sys.stderr)
    if not dataset.canonical:
        print(f"note: {path} is not, byte for byte, the published set", file=sys.stderr)


def _check(names: tuple[str, ...] | list[str], must_be_there: bool, prog: str) -> int:
    """Print a line for every set; return 1 if one is damaged, or was asked for by name and is not there."""
    from npl0.data import DataError, load_dataset

    rows, failures = [], []
    for name in names:
        place = _where(name)
        try:
            if place is None:
                raise DataError(f"{name} is not in the cache: `python -m npl0 data fetch {name}` downloads it")
            rows.append(_row(load_dataset(name, offline=True)))
        except DataError as error:
            rows.append([name, place or "not downloaded", "-", "-", "-", "-"])
            if place or must_be_there:
                failures.append(error)
    print(_table(rows))
    for error in failures:
        print(f"{prog}: {error}", file=sys.stderr)
    return 1 if failures else 0


def _where(name: str) -> str | None:
    """Return where a set is, in words or as a path; None if it is not there."""
    if name in _INCLUDED:
        return _INCLUDED[name]
    from npl0.data.cifar10 import cached_archive

    path = cached_archive()
    return str(path) if path.exists() else None


def _row(dataset: "Dataset") -> list[str]:
    return [
        dataset.name,
        _where(dataset.name) or "-",
        "yes" if dataset.canonical else "no",
        dataset.fingerprint[:16],
        f"{len(dataset.train_labels):,}",
        f"{len(dataset.test_labels):,}",
    ]


def _table(rows: list[list[str]]) -> str:
    from npl0.cli.tables import table

    return table(["data set", "where", "canonical", "fingerprint", "training", "test"], rows)
