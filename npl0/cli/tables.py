"""Results as text tables."""

from typing import Any

from npl0.nn.summary import table
from npl0.training.metrics import WeightCount


def result_tables(result: dict[str, Any]) -> str:
    """Return the table of stages and the table of layers of a result."""
    size = result["size"]["weights"]
    stages = []
    for point, stage in (("initial", "start"), ("trained", "train"), ("pruned", "prune"), ("retrained", "retrain")):
        # A method that does not prune has neither of the last two; the seconds of a stage say that it ran.
        if point not in result["accuracy"] or (stage in ("prune", "retrain") and "retrain" not in result["config"]):
            continue
        accuracy = f"{100 * result['accuracy'][point]:.2f} %"
        weights = WeightCount(size, *(result[f"weights_{what}"][point] for what in ("kept", "live")))
        seconds = f"{result['seconds'][stage]:.1f}" if stage in result["seconds"] else ""
        epochs = str(result["epochs"].get(stage, ""))
        stages.append([point, accuracy, f"{weights.kept:,}", weights.ratio_text, weights.live_text, epochs, seconds])
    # The live weights of layers that are no chain are unknown.
    keys = ("size", "nnz", *(["live"] if weights.live is not None else []), "macs", "macs_nnz")
    rows = [(row["name"], *(row[key] for key in keys)) for row in result["layers"]]
    rows.append(("all", *(sum(row[key] for row in result["layers"]) for key in keys)))
    layers = [
        [name, f"{size:,}", f"{nnz:,}", f"{100 * nnz / size:.2f} %", *(f"{count:,}" for count in others)]
        for name, size, nnz, *others in rows
    ]
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
    stage_table = table(["", "accuracy", "weights kept", "compression", "live", "epochs", "seconds"], stages)
    layer_table = table(["layer", "weights", "kept", "density", *keys[2:-2], "MACs", "MACs kept"], layers)
    return "\n\n".join([title, stage_table, layer_table, *notes])
