"""`python -m npl0 gradcheck`."""

import json
import math
import sys

from npl0.settings.flags import Parser


def main(arguments: list[str], prog: str) -> int:
    """Run every check and print a line for each as it finishes; return 1 if one fails, else 0."""
    parser = Parser(prog, description="Check every hand-written backward pass against central differences, in float64.")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and the table on stderr")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the inputs (default: 0)")
    options = parser.parse_args(arguments)
    from npl0.gradcheck.checks import CHECKS  # here, so that help needs no NumPy
    from npl0.gradcheck.compare import FLOOR, TOLERANCE
    from npl0.runtime.threads import Workers

    if options.seed < 0:
        parser.error(f"--seed must be at least 0, not {options.seed}")
    width = max(len(check.name) for check in CHECKS)

    def show(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)

    show(f"hand-written gradients against central differences, float64, tolerance {TOLERANCE:g}\n")
    show(f"{'check':{width}}  {'kind':>9}  {'entries':>14}  {'error':>7}\n" + "-" * (width + 44))
    rows = []
    with Workers(1) as workers:
        for check in CHECKS:
            found = check.run(workers, options.seed)
            # JSON has no infinity: null means that nothing could be compared, for the reason in `worst`.
            numbers = {**vars(found), "error": found.error if math.isfinite(found.error) else None}
            rows.append({"name": check.name, "kind": check.kind, **numbers, "passed": found.passes()})
            entries = f"{found.entries:,}" + ("" if found.entries == found.total else f" of {found.total:,}")
            verdict = "ok" if found.passes() else "FAILED"
            show(f"{check.name:{width}}  {check.kind:>9}  {entries:>14}  {found.error:7.1e}  {verdict}")
    failed = [f"FAILED {row['name']}: {row['worst']}\n" for row in rows if not row["passed"]]
    show(f"\n{''.join(failed)}{len(rows) - len(failed)} of {len(rows)} checks pass")
    show("the tests plant wrong backward passes, which the checker must reject (tests/gradcheck/test_faults.py)")
    if options.json:
        print(json.dumps({"tolerance": TOLERANCE, "floor": FLOOR, "checks": rows, "passed": not failed}, indent=2))
    return 1 if failed else 0
