"""Print the table of docs/results.md: `python experiments/results_table.py`.

The table is made from the run folders under `experiments/results`.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from npl0 import load_model
from npl0.training.metrics import WeightCount

RESULTS = Path(__file__).parent / "results"

COLUMNS = "seeds", "epochs", "trained", "pruned", "retrained", "kept", "compression", "live", "effective", "seconds"
HEADER = [f"| network, method | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]


def load_results(folder: Path = RESULTS) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Return the results grouped by experiment, network, method and epochs, each group sorted by seed."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*/*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        # Runs of before npl0 counted live weights: from the pruned network; a dense one has no other weights.
        if "weights_live" not in result:
            stored = path.with_name("model.npz").is_file()
            count = WeightCount.of_network(load_model(path.parent)) if stored else None
            result["weights_live"] = {"retrained": count.live if count else result["size"]["weights"]}
        width = result["config"].get("width", 1)
        network = result["model"] + (f" at width {width:g}" if width != 1 else "")
        criterion = f" ({result['config']['magnitude']['criterion']})" if result["method"] == "magnitude" else ""
        method = result["method"] + criterion + (" from dense" if result.get("init_from") else "")
        groups[path.parent.parent.name, network, method, epochs(result)].append(result)
    for results in groups.values():
        results.sort(key=lambda result: result["seed"])
    return dict(sorted(groups.items(), key=lambda item: (item[0][1] != "lenet5", item[0])))


def epochs(result: dict[str, Any]) -> str:
    """Format the epochs of training and retraining, without those of the network that the run started from."""
    counts = result["epochs"]
    return f"{counts['train']}" + (f" + {counts['retrain']}" if result["method"] != "dense" else "")


def spread(values: list[float], text: str) -> str:
    """Format the lowest and the highest value, or one if both look the same."""
    low, high = text.format(min(values)), text.format(max(values))
    return low if low == high else f"{low} - {high}"


def rows() -> list[str]:
    """Return the lines of the table, in Markdown."""
    lines = list(HEADER)
    for (_, network, method, length), results in load_results().items():
        accuracies = [
            spread([100 * result["accuracy"][point] for result in results], "{:.2f}") + " %"
            for point in ("trained", "pruned", "retrained")
        ]
        if method.startswith("dense"):
            accuracies[1:] = ["-", "-"]
        cells = [
            f"{network}, {method}",
            ", ".join(str(result["seed"]) for result in results),
            length,
            *accuracies,
            spread([result["nnz"]["weights"] for result in results], "{:,.0f}"),
            spread([result["compression_ratio"] for result in results], "{:.1f}x"),
            spread([result["weights_live"]["retrained"] for result in results], "{:,.0f}"),
            spread([result["size"]["weights"] / result["weights_live"]["retrained"] for result in results], "{:.1f}x"),
            spread([sum(result["seconds"].values()) for result in results], "{:.0f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    print("\n".join(rows()))
