"""Write a pruned network as a page: one draws an image in a browser, and the network answers.

The page needs nothing but itself. It holds the kept weights of each layer in the order of their flattened array: their
values, and the distance of each to the one before it, in bytes of which a 255 says that the distance goes on.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from npl0.nn.base import Layer
from npl0.nn.conv import Conv2d
from npl0.nn.layers import Affine, AvgPool2d, MaxPool2d, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.sparse.compact import compact
from npl0.sparse.writer import ExportError, layer_kinds, rounded, straight_line
from npl0.storage.files import filled_page

MOST_BYTES = 100_000


def to_html(network: Network, precision: str = "float16", classes: Sequence[str] = ()) -> bytes:
    """Return a page that runs the compacted network, for images of one channel and pixels 0..255; UTF-8.

    Parameters
    ----------
    network : what training and pruning left; `compact` is applied to it.
    precision : of the weights, `float16` or `float32`. Biases are float32.
    classes : the names of the classes; the numbers from 0 where there are none.

    Raises
    ------
    ExportError
        If the images have more channels, a layer is not of `npl0.nn`, a weight is too large for the precision, or the
        page would take more than 100,000 bytes.
    """
    if precision not in ("float32", "float16"):
        raise ExportError(f"precision {precision!r} is unknown: a page takes float16 and float32")
    if len(network.input_shape) != 3 or network.input_shape[0] != 1:
        what = f"{network.name} reads inputs of shape {network.input_shape}, and one draws images of one channel"
        raise ExportError(f"{what}; model.npl0 and C hold it")
    small = compact(network)
    kinds, shape, layers = layer_kinds(small, "a page"), small.input_shape, []
    for layer, kind in zip(small.layers, kinds, strict=True):
        before, shape = shape, layer.output_shape(shape)
        if kind:
            described = _described(layer, before[0], precision)
            layers.append({"name": layer.name, "kind": kind, "shape": shape, **described})
    dense = [weight.value.size for weight in network.weights]
    data = {"name": network.name, "classes": classes, "input": small.input_shape, "dense": dense, "layers": layers}
    page = filled_page("npl0.sparse", "draw", data).encode()
    if len(page) > MOST_BYTES:
        kept = sum(np.count_nonzero(weight.value) for weight in small.weights)
        what = f"the page would take {len(page):,} bytes for {kept:,} weights, and may take {MOST_BYTES:,}"
        remedy = "prune more" if precision == "float16" else "take float16, or prune more"
        raise ExportError(f"{what}: {remedy}; model.npl0 and C hold it")
    return page


def _described(layer: Layer, channels: int, precision: str) -> dict[str, Any]:
    if isinstance(layer, Standardise | BatchNorm):
        factor, constant = straight_line(layer, channels)
        return {"factor": _text(factor), "constant": _text(constant)}
    names = {Conv2d: ("kernel_size", "stride", "padding"), MaxPool2d: ("size", "stride"), AvgPool2d: ("size", "stride")}
    described = {name.removeprefix("kernel_"): getattr(layer, name) for name in names.get(type(layer), ())}
    if isinstance(layer, Affine):
        weight = rounded(layer.weight.value, precision, layer.weight.name)
        bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.value
        distances = np.diff(np.flatnonzero(weight), prepend=0)
        steps = np.full((distances // 255 + 1).sum(), 255, np.uint8)
        steps[np.cumsum(distances // 255 + 1) - 1] = distances % 255
        described |= {"bias": _text(bias.astype(np.float32)), "steps": _text(steps)}
        described["weights"] = _text(weight[weight != 0].astype(precision))
    return described


def _text(array: np.ndarray) -> str:
    return b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
