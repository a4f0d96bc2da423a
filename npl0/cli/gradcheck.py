"""`python -m npl0 gradcheck`."""

import json
import math
from typing import Any

from npl0.cli.tables import table
from npl0.gradcheck.checks import CHECKS
from npl0.gradcheck.compare import FLOOR, TOLERANCE, Comparison
from npl0.gradcheck.faults import FAULTS
from npl0.runtime.threads import Workers
from npl0.settings.flags import Parser


def main(arguments: list[str], prog: str) -> int:
    """Run every check and every planted fault; return 1 if a check fails or a fault is not caught, else 0."""
    parser = Parser(prog, description="Check every hand-written backward pass against central differences, in float64.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the inputs (at least 0; default 0)")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, not {options.seed}")
    with Workers(1) as workers:
        checks = {check.name: check.run(workers, options.seed) for check in CHECKS}
        faults = {fault.name: fault.run(workers, options.seed) for fault in FAULTS}
    failed = [name for name, comparison in checks.items() if not comparison.passes()]
    missed = [name for name, comparison in faults.items() if comparison.passes()]
    print(json.dumps(_as_json(checks, faults), indent=2) if options.json else _as_text(checks, faults, failed, missed))
    return 1 if failed or missed else 0


def _as_json(checks: dict[str, Comparison], faults: dict[str, Comparison]) -> dict[str, Any]:
    # JSON has no infinity: an error of null means that nothing could be compared, and `worst` says why.
    def numbers(comparison: Comparison) -> dict[str, Any]:
        error = comparison.error if math.isfinite(comparison.error) else None
        return {"error": error, "entries": comparison.entries, "total": comparison.total, "worst": comparison.worst}

    kinds = {check.name: check.kind for check in CHECKS}
    sources = {fault.name: fault.check.name for fault in FAULTS}
    passed = [{"name": n, "kind": kinds[n], **numbers(c), "passed": c.passes()} for n, c in checks.items()]
    caught = [{"name": n, "check": sources[n], **numbers(c), "caught": not c.passes()} for n, c in faults.items()]
    good = all(row["passed"] for row in passed) and all(row["caught"] for row in caught)
    return {"tolerance": TOLERANCE, "floor": FLOOR, "checks": passed, "faults": caught, "passed": good}


def _as_text(checks: dict[str, Comparison], faults: dict[str, Comparison], failed: list[str], missed: list[str]) -> str:
    check_rows = [
        [
            check.name,
            check.kind,
            f"{comparison.entries:,}" + ("" if comparison.entries == comparison.total else f" of {comparison.total:,}"),
            f"{comparison.error:.1e}",
            "FAILED" if check.name in failed else "ok",
        ]
        for check, comparison in zip(CHECKS, checks.values(), strict=True)
    ]
    fault_rows = [
        [fault.name, fault.check.name, f"{comparison.error:.1e}", "MISSED" if fault.name in missed else "caught"]
        for fault, comparison in zip(FAULTS, faults.values(), strict=True)
    ]
    details = [f"FAILED {name}: {checks[name].worst}" for name in failed] + [f"MISSED {name}" for name in missed]
    passed, caught = len(checks) - len(failed), len(faults) - len(missed)
    summary = f"{passed} of {len(checks)} checks pass, {caught} of {len(faults)} planted faults are caught"
    return "\n\n".join(
        [
            f"hand-written gradients against central differences, float64, tolerance {TOLERANCE:g}",
            table(["check", "kind", "entries", "error", ""], check_rows),
            "planted faults, which the same checker must catch",
            table(["fault", "in", "error", ""], fault_rows),
            "\n".join([*details, summary]),
        ]
    )
