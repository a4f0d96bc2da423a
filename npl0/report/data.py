"""What the page shows of a run, as JSON values; its script makes texts, tables and pictures of them."""

import base64
import dataclasses
import math
import zlib
from typing import Any

import numpy as np

from npl0.nn.models import MODELS
from npl0.ops import hard_concrete
from npl0.report.figures import course
from npl0.report.left import count_reads
from npl0.report.record import RunRecord
from npl0.runs.explain import explain_all
from npl0.runs.result import measure_layers
from npl0.runs.snapshots import LEVELS, MOST_FILTERS, POINTS, RANGES


def run_data(record: RunRecord, room: int) -> dict[str, Any]:
    """Return all that the page shows of a run; its film takes `room` bytes at most. None or empty: it is missing."""
    model, columns = record.config.model, ("stage", "seconds", "images_per_second", "peak_memory_mb")
    trained = sum(row["stage"] == "train" for row in record.rows) >= record.epochs["train"]
    return {
        "model": MODELS[model].title if model in MODELS else model,
        "folder": str(record.path),
        "missing": record.missing,
        "config": record.config.used(),
        "epochs": record.epochs,
        "environment": record.environment,
        "result": record.result,
        "rows": [{name: row.get(name) for name in columns} for row in record.rows],
        "sentences": explain_all(record.result, record.network, record.rows) if record.network and trained else {},
        "film": film_data(record, room),
        "course": course(record),
        "left": _left(record),
        "answers": _answers(record),
    }


def film_data(record: RunRecord, room: int) -> dict[str, Any] | None:
    """Return the snapshots, their maps in `room` bytes at most: else every other moment is left out."""
    if not record.moments:
        return None
    arrays, chosen = record.arrays, list(range(len(record.moments)))
    while len(cells := pack(arrays["cells"][chosen])) > room and len(chosen) > 2:
        chosen = sorted({*chosen[::2], chosen[-1]})
    names = ("kept", "histogram")
    temperature = hard_concrete.TEST_GATES.get(getattr(record.config.options, "test_gate", None))
    return {
        "layers": record.header["layers"],
        "grids": record.header["grids"],
        "moments": [{**record.moments[i], **{name: arrays[name][i].tolist() for name in names}} for i in chosen],
        "levels": LEVELS,
        "cells": cells,
        "first": pack_signed(arrays["first"][chosen]),
        "ranges": RANGES,
        # A test gate is 0 for log_alpha <= temperature log(-gamma / zeta).
        "threshold": temperature and temperature * math.log(-hard_concrete.GAMMA / hard_concrete.ZETA),
    }


def pack(moments: np.ndarray) -> str:
    """Pack bytes (moments, ...): the differences from moment to moment, modulo 256, compressed, in base64."""
    steps = np.diff(moments, axis=0, prepend=np.zeros_like(moments[:1]))
    return base64.b64encode(zlib.compress(steps.astype(np.uint8).tobytes(), 9)).decode()


def pack_signed(values: np.ndarray) -> dict[str, Any]:
    """Pack numbers (moments, ...) in 1..255; 128 is 0 and nothing else is, so that the smallest is still seen."""
    values = values.astype(np.float32)
    sizes = np.ceil(127 * np.abs(values) / max(float(np.abs(values).max(initial=0)), 1e-30))
    return {"shape": values.shape[1:], "moments": len(values), "values": pack(128 + np.sign(values) * sizes)}


def _left(record: RunRecord) -> dict[str, Any] | None:
    """Return the layers, how often each pixel is read, and the filters of a first convolution, channels added."""
    if record.network is None:
        return None
    reads, first = count_reads(record.network), record.network.weights[0].value
    return {
        "layers": [dataclasses.asdict(row) for row in measure_layers(record.network)],
        "inputs": pack_signed(reads.sum(axis=0)[None]) if reads is not None and reads.ndim == 3 else None,
        "filters": pack_signed(first[None, :MOST_FILTERS].sum(axis=2, keepdims=True)) if first.ndim == 4 else None,
    }


def _answers(record: RunRecord) -> dict[str, Any] | None:
    """Return the true classes of all images, those that each stage gave them, and the images that are kept."""
    arrays, points = record.arrays, [point for point in POINTS if f"predicted.{point}" in record.arrays]
    if "labels" not in arrays or not points:
        return None
    classes = np.stack([arrays["labels"], *(arrays[f"predicted.{point}"] for point in points)]).astype("<u2")
    return {
        "names": record.header["classes"],
        "points": points,
        "classes": pack(classes.view(np.uint8)),
        "picked": arrays["picked"].tolist(),
        "shape": arrays["images"].shape[1:],
        # Each image as the difference from the one before.
        "images": pack(arrays["images"]),
    }
