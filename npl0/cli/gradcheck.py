"""`python -m npl0 gradcheck`."""

import json
import math
from typing import Any

from npl0.gradcheck.checks import CHECKS
from npl0.gradcheck.compare import FLOOR, TOLERANCE, Comparison
from npl0.gradcheck.faults import FAULTS
from npl0.nn.summary import table
from npl0.runtime.threads import Workers
from npl0.settings.flags import Parser


def main(arguments: list[str], prog: str) -> int:
    """Run every check and every planted fault; return 1 if a check fails or a fault passes, else 0."""
    parser = Parser(prog, description="Check every hand-written backward pass against central differences, in float64.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the inputs (default: 0)")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, not {options.seed}")
    checks, faults = [], []
    with Workers(1) as workers:
        for check in CHECKS:
            found = check.run(workers, options.seed)
            checks.append({"name": check.name, "kind": check.kind, **_numbers(found), "passed": found.passes()})
        for name, check in FAULTS.items():
            found = check.run(workers, options.seed)
            faults.append({"name": name, "check": check.name, **_numbers(found), "caught": not found.passes()})
    good = all(row["passed"] for row in checks) and all(row["caught"] for row in faults)
    report = {"tolerance": TOLERANCE, "floor": FLOOR, "checks": checks, "faults": faults, "passed": good}
    print(json.dumps(report, indent=2) if options.json else _as_text(checks, faults))
    return 0 if good else 1


def _numbers(found: Comparison) -> dict[str, Any]:
    # JSON has no infinity: null means that nothing could be compared, for the reason in `worst`.
    return {**vars(found), "error": found.error if math.isfinite(found.error) else None}


def _as_text(checks: list[dict[str, Any]], faults: list[dict[str, Any]]) -> str:
    def cells(row: dict[str, Any]) -> list[str]:
        entries = f"{row['entries']:,}" + ("" if row["entries"] == row["total"] else f" of {row['total']:,}")
        return [entries, "inf" if row["error"] is None else f"{row['error']:.1e}"]

    check_rows = [[c["name"], c["kind"], *cells(c), "ok" if c["passed"] else "FAILED"] for c in checks]
    fault_rows = [[f["name"], f["check"], *cells(f)[1:], "caught" if f["caught"] else "MISSED"] for f in faults]
    failed = [f"FAILED {row['name']}: {row['worst']}" for row in checks if not row["passed"]]
    missed = [f"MISSED {row['name']}" for row in faults if not row["caught"]]
    passed = f"{len(checks) - len(failed)} of {len(checks)} checks pass"
    caught = f"{len(faults) - len(missed)} of {len(faults)} planted faults are caught"
    parts = [
        f"hand-written gradients against central differences, float64, tolerance {TOLERANCE:g}",
        table(["check", "kind", "entries", "error", ""], check_rows),
        "planted faults: the same checks with an error in them, which must fail",
        table(["fault", "in", "error", ""], fault_rows),
        "\n".join([*failed, *missed, f"{passed}, {caught}"]),
    ]
    return "\n\n".join(parts)
