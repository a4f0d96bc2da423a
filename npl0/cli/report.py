"""`python -m npl0 report`: one HTML page on one or several runs."""

import webbrowser
from pathlib import Path
from typing import Any

from npl0 import report
from npl0.cli.guard import guard, note
from npl0.settings.flags import Parser

DESCRIPTION = """\
Make one HTML page on one or several runs: the gates as they close, the course of the training, what is left, what it
answers, what it cost, and with several runs error against compression. The page needs no network and no other file.
Runs of earlier versions, and runs that are not finished, are shown as far as they go."""


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 report") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders")
    parser.add_argument(
        "--out", metavar="FILE", help="the page (default: report.html in the run folder, or here if there are several)"
    )
    parser.add_argument("--open", action="store_true", help="show the page in a browser")
    options = parser.parse_args(arguments)
    return guard(lambda: _report(options), prog)


def _report(options: Any) -> None:
    records = [report.read_run(run) for run in options.runs]
    path = Path(options.out or (records[0].path if len(records) == 1 else Path()) / "report.html")
    for record in records:
        for text in record.missing:
            note(text)
    report.write_report(records, path)
    print(path)
    if options.open and not webbrowser.open(path.resolve().as_uri()):
        note(f"no browser was found; open {path} in one")
