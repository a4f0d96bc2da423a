"""The result of a run, the content of result.json."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.data.dataset import Dataset
from npl0.nn.network import Network
from npl0.pruning.live import live_masks
from npl0.pruning.masks import masks_of
from npl0.runs.checkpoint import TrainingState
from npl0.settings.sections import RunConfig
from npl0.training.metrics import WeightCount


@dataclass(frozen=True)
class LayerMeasure:
    """A layer with weights: `density = nnz / size`; `macs` are its multiply-adds for one example, all and kept ones."""

    name: str
    size: int
    nnz: int
    live: int | None
    density: float
    macs: int
    macs_nnz: int


def measure_layers(network: Network) -> list[LayerMeasure]:
    """Count the non-zero weights of every layer that has weights."""
    live = live_masks(masks_of(network))
    measures = []
    for row in network.summary():
        if size := row.weights:
            alive = live and sum(int(mask.sum()) for name, mask in live.items() if name.partition(".")[0] == row.name)
            macs_nnz = row.macs // size * row.kept
            measures.append(LayerMeasure(row.name, size, row.kept, alive, row.kept / size, row.macs, macs_nnz))
    return measures


def make_result(
    config: RunConfig, dataset: Dataset, state: TrainingState, network: Network, total: int
) -> dict[str, Any]:
    """Return the content of result.json; accuracies were measured on `total` images."""
    others = [parameter.value for parameter in network.parameters if parameter.kind != "weight"]
    weights = WeightCount.of_network(network)
    points, kept, live = dict(state.correct), dict(state.kept), dict(state.live)
    for values in (points, kept, live):
        values.setdefault("pruned", values["trained"])
        values.setdefault("retrained", values["pruned"])
    return {
        "model": config.model,
        "data": dataset.describe(),
        "method": config.method,
        "seed": config.seed,
        "init_from": state.init_from,
        "measured_on": "validation" if config.validation else "test",
        "total": total,
        "accuracy": {point: correct / total for point, correct in points.items()},
        "correct": points,
        "weights_kept": kept,
        "weights_live": live,
        "size": {"weights": weights.size, "biases": sum(value.size for value in others)},
        "nnz": {"weights": weights.kept, "biases": sum(int(np.count_nonzero(value)) for value in others)},
        # JSON has no infinity.
        "compression_ratio": weights.compression_ratio if weights.kept else None,
        "effective_compression": weights.effective_compression if weights.live else None,
        "expected_l0": state.expected_l0,
        "epochs": {"train": config.train.epochs, "retrain": config.retrain.epochs if config.prunes else 0},
        "seconds": {"train": 0.0, "prune": 0.0, "retrain": 0.0, **state.seconds},
        "layers": [dataclasses.asdict(row) for row in measure_layers(network)],
        "test_gate": getattr(config.options, "test_gate", None),
        "config": config.used(),
    }
