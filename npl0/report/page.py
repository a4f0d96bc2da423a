"""The page: one HTML file that needs nothing else."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from npl0.report.data import run_data
from npl0.report.figures import comparison
from npl0.report.record import ReportError, RunRecord
from npl0.storage.files import filled_page, replacing


def check_plots(what: str = "a report") -> None:
    """Raise ReportError, which names what needs matplotlib, unless it is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ReportError(f"{what} needs matplotlib, the extra `plot`: pip install 'matplotlib>=3.8'")


def write_report(records: Sequence[RunRecord], path: str | Path) -> None:
    """Write the page on some runs to a file; ReportError if matplotlib is missing or the file cannot be written."""
    check_plots()
    try:
        with replacing(path) as temporary:
            # Before the work, not after it.
            temporary.touch()
            temporary.write_text(make_page(records), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror}; name another file with --out") from error


def make_page(records: Sequence[RunRecord]) -> str:
    """Return the page on some runs."""
    # Of the 3 MB of a page, the maps may take two.
    data = {
        "runs": [run_data(record, 2_000_000 // len(records)) for record in records],
        "comparison": comparison(records) if len(records) > 1 else None,
    }
    return filled_page("npl0.report", "page", data)
