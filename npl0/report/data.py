"""What the page shows of a run, as JSON values; its script makes tables and pictures of them."""

from typing import Any

import numpy as np

from npl0.nn.models import MODELS
from npl0.pruning.live import live_masks
from npl0.pruning.masks import masks_of
from npl0.report.figures import course
from npl0.report.film import film_data, pack, pack_signed
from npl0.report.left import count_reads
from npl0.report.record import RunRecord
from npl0.runs.explain import explain
from npl0.runs.snapshots import MOST_FILTERS, MOST_IMAGES, POINTS

CHANGES = {("trained", "pruned"): "Pruning", ("trained", "retrained"): "Pruning and retraining together"}


def run_data(record: RunRecord, room: int) -> dict[str, Any]:
    """Return all that the page shows of a run; its film takes `room` bytes at most. None or empty: it is missing."""
    columns = ("stage", "seconds", "images_per_second", "peak_memory_mb")
    return {
        "title": title_of(record),
        "folder": str(record.path),
        "missing": record.missing,
        "config": record.config.used(),
        "environment": record.environment,
        "result": record.result,
        "rows": [{name: row.get(name) for name in columns} for row in record.rows],
        "sentences": _sentences(record),
        "film": film_data(record, room),
        "course": course(record),
        "left": _left(record),
        "answers": _answers(record),
    }


def title_of(record: RunRecord) -> str:
    """Return the network, the data, the method and the seed of a run."""
    config = record.config
    model = MODELS[config.model].title.partition(",")[0] if config.model in MODELS else config.model
    data = record.result.get("data", record.environment.get("data", {})).get("name", config.data)
    data = {"mnist": "MNIST", "cifar10": "CIFAR-10"}.get(data, data)
    method = "L0" if config.method == "l0" else config.method
    return f"{model.removesuffix(' for CIFAR-10')} on {data}, {method}, seed\N{NO-BREAK SPACE}{config.seed}"


def _sentences(record: RunRecord) -> list[tuple[str, str]]:
    """Return what each stage did, in words."""
    kept = [int(row["kept"]) for row in record.rows if row["stage"] == "train"]
    if record.network is None or len(kept) < record.epochs["train"]:
        return []
    masks = masks_of(record.network)
    stages = {"trained": "Training", "pruned": "Pruning", "retrained": "Retraining"}
    points = list(stages) if record.config.prunes else ["trained"]
    return [(stages[point], " ".join(explain(point, record.result, masks, kept))) for point in points]


def _left(record: RunRecord) -> dict[str, Any] | None:
    network = record.network
    if network is None:
        return None
    live, reads = live_masks(masks_of(network)), count_reads(network)
    counts = [None] * len(network.weights) if live is None else [int(mask.sum()) for mask in live.values()]
    names = ("name", "size", "nnz", "macs", "macs_nnz")
    layers = [[*(row[name] for name in names), n] for row, n in zip(record.result["layers"], counts, strict=True)]
    left: dict[str, Any] = {"layers": layers, "inputs": None, "filters": None}
    if reads is not None and reads.ndim == 3:
        reads = reads.sum(axis=0)
        left["inputs"] = {"read": int((reads > 0).sum()), **pack_signed(reads[None])}
    first = network.weights[0]
    if first.value.ndim == 4:
        shown = {"at the end": first.value[:MOST_FILTERS].sum(axis=1)}
        trained = [i for i, moment in enumerate(record.moments) if moment.name == "train"]
        for i, when in [(trained[-1], "after training"), (0, "before training")] if trained else []:
            shown = {when: record.arrays["first"][i].astype(np.float32).sum(axis=1), **shown}
        left["filters"] = {"name": first.layer, "when": list(shown), **pack_signed(np.stack(list(shown.values())))}
    return left


def _answers(record: RunRecord) -> dict[str, Any] | None:
    arrays = record.arrays
    given = {point: arrays[f"predicted.{point}"].astype(int) for point in POINTS if f"predicted.{point}" in arrays}
    if "labels" not in arrays or not given:
        return None
    labels, last = arrays["labels"].astype(int), list(given.values())[-1]
    names = [str(name) for name in record.header["classes"]]
    # A network may have more outputs than the data have classes.
    names += [str(i) for i in range(len(names), 1 + max(array.max() for array in (labels, *given.values())))]
    matrix = np.bincount(labels * len(names) + last, minlength=len(names) ** 2).reshape(len(names), -1)
    changes = []
    for (before, after), what in CHANGES.items():
        if before in given and after in given:
            was, is_now = given[before] == labels, given[after] == labels
            indices = {"lost": np.flatnonzero(was & ~is_now), "won": np.flatnonzero(~was & is_now)}
            tiles = {
                kind: [
                    [place, int(i), *(names[array[i]] for array in (labels, given[before], given[after]))]
                    for place, i in enumerate(arrays["picked"])
                    if i in found
                ][:MOST_IMAGES]
                for kind, found in indices.items()
            }
            counts = {kind: len(found) for kind, found in indices.items()}
            changes.append({"what": what, "of": len(labels), "counts": counts, "tiles": tiles})
    images = arrays["images"]
    # Each image is packed as the difference from the one before, like the moments of a film.
    packed = {"shape": images.shape[1:], "moments": len(images), "values": pack(images)}
    return {"names": names, "matrix": matrix.tolist(), "changes": changes, "images": packed}
