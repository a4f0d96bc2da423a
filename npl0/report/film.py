"""The snapshots of a run as data of the page: what its slider moves through."""

import base64
import math
import zlib
from typing import Any

import numpy as np

from npl0.ops import hard_concrete
from npl0.report.record import RunRecord
from npl0.runs.snapshots import LEVELS, RANGES


def film_data(record: RunRecord, room: int) -> dict[str, Any] | None:
    """Return the snapshots as JSON values whose maps take `room` bytes at most: else every other moment is left out."""
    if not record.moments:
        return None
    header, arrays, chosen = record.header, record.arrays, list(range(len(record.moments)))
    while len(packed := pack(arrays["cells"][chosen])) > room and len(chosen) > 2:
        chosen = sorted({*chosen[::2], chosen[-1]})
    moments = [
        {
            "label": record.moments[i].label(record.epochs),
            "quantity": record.moments[i].quantity,
            "kept": arrays["kept"][i].tolist(),
            "histogram": arrays["histogram"][i].tolist(),
        }
        for i in chosen
    ]
    return {
        "layers": [_layer(*layer, *grid) for layer, grid in zip(header["layers"], header["grids"], strict=True)],
        "moments": moments,
        "levels": LEVELS,
        "cells": packed,
        "first": pack_signed(arrays["first"][chosen]),
        "ranges": RANGES,
        "threshold": closing_threshold(record.config.options.test_gate) if record.config.method == "l0" else None,
    }


def _layer(name: str, shape: list[int], rows: int, columns: int) -> dict[str, Any]:
    inputs = math.prod(shape[1:])
    tall, wide = math.ceil(shape[0] / rows), math.ceil(inputs / columns)
    point = "A point is a weight" if tall == wide == 1 else f"A point is {tall} by {wide} weights"
    note = f"{point}; {shape[0]:,} rows of {'filters' if len(shape) == 4 else 'units'}, {inputs:,} columns of inputs."
    size = math.prod(shape)
    return {"name": name.partition(".")[0], "size": size, "rows": rows, "columns": columns, "note": note}


def pack(moments: np.ndarray) -> str:
    """Pack bytes (moments, ...): the differences from moment to moment, modulo 256, compressed, in base64."""
    steps = np.diff(moments, axis=0, prepend=np.zeros_like(moments[:1]))
    return base64.b64encode(zlib.compress(steps.astype(np.uint8).tobytes(), 9)).decode()


def pack_signed(values: np.ndarray) -> dict[str, Any]:
    """Pack numbers (moments, ...) in 1..255; 128 is 0 and nothing else is, so that the smallest is still seen."""
    values = values.astype(np.float32)
    sizes = np.ceil(127 * np.abs(values) / max(float(np.abs(values).max(initial=0)), 1e-30))
    return {"shape": values.shape[1:], "moments": len(values), "values": pack(128 + np.sign(values) * sizes)}


def closing_threshold(rule: str) -> float:
    """Return the log_alpha at and below which a test gate is 0: `temperature logit(-gamma / (zeta - gamma))`."""
    p = -hard_concrete.GAMMA / (hard_concrete.ZETA - hard_concrete.GAMMA)
    return hard_concrete.TEST_GATES[rule] * math.log(p / (1 - p))
