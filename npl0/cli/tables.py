"""Results as text tables."""

from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out text in columns: the first flush left, the others flush right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def lay(line: Sequence[str]) -> str:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lay(lines[0]), rule, *(lay(line) for line in lines[1:])])


def ratio(size: int, kept: int) -> str:
    """Format a compression ratio."""
    return f"{size / kept:.1f}x" if kept else "all pruned"


def result_tables(result: dict[str, Any]) -> str:
    """Return the table of stages and the table of layers of a result."""
    size = result["size"]["weights"]
    stages = []
    names = {"initial": "start", "trained": "train", "pruned": "prune", "retrained": "retrain"}
    shown = ["initial"] if "initial" in result["accuracy"] else []
    shown += ["trained"] if result["method"] == "dense" else ["trained", "pruned", "retrained"]
    for point in shown:
        stage, kept = names[point], result["weights_kept"][point]
        epochs = result["epochs"].get(stage)
        stages.append(
            [
                point,
                f"{100 * result['accuracy'][point]:.2f} %",
                f"{kept:,}",
                ratio(size, kept),
                "" if epochs is None else str(epochs),
                f"{result['seconds'][stage]:.1f}" if stage in result["seconds"] else "",
            ]
        )
    layers = [
        [
            row["name"],
            f"{row['size']:,}",
            f"{row['nnz']:,}",
            f"{100 * row['density']:.2f} %",
            f"{row['macs']:,}",
            f"{row['macs_nnz']:,}",
        ]
        for row in result["layers"]
    ]
    sums = {key: sum(row[key] for row in result["layers"]) for key in ("size", "nnz", "macs", "macs_nnz")}
    layers.append(
        [
            "all",
            f"{sums['size']:,}",
            f"{sums['nnz']:,}",
            f"{100 * sums['nnz'] / sums['size']:.2f} %",
            f"{sums['macs']:,}",
            f"{sums['macs_nnz']:,}",
        ]
    )
    data = result["data"]
    title = (
        f"{result['model']} on {data['name']}{'' if data['canonical'] else ' (not the canonical set)'}, method "
        f"{result['method']}, seed {result['seed']}; accuracy on {result['total']:,} {result['measured_on']} images, "
        "final epoch"
    )
    notes = []
    if result["expected_l0"] is not None:
        notes.append(
            f"expected L0 (sum of P(z > 0)) at pruning: {result['expected_l0']:,.0f}; realised, by the "
            f"{result['test_gate']} test gate: {result['weights_kept']['pruned']:,}"
        )
    stage_table = table(["", "accuracy", "weights kept", "compression", "epochs", "seconds"], stages)
    layer_table = table(["layer", "weights", "kept", "density", "MACs", "MACs kept"], layers)
    return "\n\n".join([title, stage_table, layer_table, *notes])
