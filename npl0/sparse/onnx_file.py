"""ONNX models, out and in: the file that ONNX Runtime runs, and networks that another program trained."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from npl0.nn.base import Layer, Shape, numbered
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.nn.parameter import Parameter
from npl0.ops.norm import EPSILON
from npl0.sparse.compact import compact
from npl0.sparse.writer import layer_kinds
from npl0.storage.archive import CheckpointError
from npl0.storage.description import MOST_LAYERS
from npl0.storage.files import brief, optional, reported

OPSET, IR_VERSION = 17, 8  # of 2022, which every runtime in use takes
MOST_INPUTS = 1 << 24  # the most values of one example
_LAYERS = {"Conv": Conv2d, "BatchNormalization": BatchNorm, "Gemm": Linear, "MaxPool": MaxPool2d}
_LAYERS |= {"AveragePool": AvgPool2d, "Relu": ReLU, "Flatten": Flatten, "MatMul": Linear, "Reshape": Flatten}
_ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
# What settings of operators must be, if they are given: npl0 has layers for nothing else.
_MUST = {"auto_pad": b"NOTSET", "dilations": [1, 1], "group": 1, "ceil_mode": 0, "axis": 1}
_MUST |= {"alpha": 1, "beta": 1, "transA": 0, "training_mode": 0}
_RANGE = np.array([[0.0], [255.0]])  # the darkest and the brightest pixel


def to_onnx(network: Network) -> bytes:
    """Return the content of an ONNX file that holds the compacted network.

    It maps `pixels`, (N, *input_shape) in float32, to `logits`, (N, classes), for any N. `ExportError` if a layer is
    not one of `npl0.nn`.
    """
    onnx, small = optional("onnx"), compact(network)
    layer_kinds(small, "model.onnx")
    nodes, arrays, shape, value = [], [], small.input_shape, "pixels"
    for layer in small.layers:
        for operator, constants, settings in _operators(layer, shape):
            names = [f"{layer.name}.{name}" for name in constants]
            for name, array in zip(names, constants.values(), strict=True):
                arrays.append(onnx.numpy_helper.from_array(np.asarray(array, np.float32), name))
            inputs, value = [value, *names], f"value{len(nodes) + 1}"
            nodes.append(onnx.helper.make_node(operator, inputs, [value], **settings))
        shape = layer.output_shape(shape)
    nodes.append(onnx.helper.make_node("Identity", [value], ["logits"]))
    ends = (
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *sides])]
        for name, sides in (("pixels", small.input_shape), ("logits", small.output_shape))
    )
    graph, opsets = onnx.helper.make_graph(nodes, small.name, *ends, arrays), [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, producer_name="npl0", ir_version=IR_VERSION, opset_imports=opsets)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _operators(layer: Layer, shape: Shape) -> list[tuple[str, dict[str, np.ndarray], dict[str, Any]]]:
    """Return the operators of a layer that takes this shape: names, constants by name, and settings."""
    if isinstance(layer, Standardise):
        mean, std = (array.reshape(-1, *[1] * (len(shape) - 1)) for array in (layer.mean, layer.std))
        return [("Div", {"white": np.array(255)}, {}), ("Sub", {"mean": mean}, {}), ("Div", {"std": std}, {})]
    arrays, settings = {parameter.kind: parameter.value for parameter in layer.parameters} | layer.buffers, {}
    operator = next((name for name, kind in _LAYERS.items() if isinstance(layer, kind)), None)
    if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
        settings = {"strides": [layer.stride] * 2}
        settings |= {"pads": [layer.padding] * 4} if arrays else {"kernel_shape": [layer.size] * 2}
    elif arrays:
        settings = {"transB": 1} if isinstance(layer, Linear) else {"epsilon": EPSILON}
    return [(operator, arrays, settings)] if operator else []  # dropout does nothing


def import_onnx(path: str | Path, mean: ArrayLike = 0.0, std: ArrayLike = 1 / 255) -> Network:
    """Build a network from an ONNX file.

    Parameters
    ----------
    path : a chain of Conv, BatchNormalization, Relu, MaxPool, AveragePool, Flatten, Reshape, Gemm and MatMul with Add.
        Arithmetic with constants at its start becomes a `Standardise`; Dropout, Identity and a Softmax at the end go.
    mean, std : per channel, if the model was trained on `(pixels / 255 - mean) / std`. The defaults leave the pixels.

    Raises
    ------
    CheckpointError
        If the file is damaged, keeps weights in another file, or has an operator that npl0 has no layer for.
    """
    onnx, content = optional("onnx"), Path(path).read_bytes()
    with reported(CheckpointError, f"{path} is no ONNX model that npl0 can take", "change it, or import another file"):
        model = onnx.load_model_from_string(content)
        newest, graph, layers = onnx.defs.onnx_opset_version(), model.graph, list[Layer]()
        if any(entry.version > newest for entry in model.opset_import if not entry.domain):
            raise ValueError(f"its opset is newer than {newest}, that of the installed onnx: pip install -U onnx")
        constants = {tensor.name: _array(onnx, tensor) for tensor in graph.initializer}
        (source,), (result,) = (entry for entry in graph.input if entry.name not in constants), graph.output
        value, shape = source.name, tuple(side.dim_value for side in source.type.tensor_type.shape.dim)[1:]
        if not 0 < min(shape, default=0) <= math.prod(shape) <= MOST_INPUTS or len(graph.node) > MOST_LAYERS:
            raise ValueError(f"its input is (N, {str(shape)[1:-1]}), not of a known, moderate size, or it is too long")
        # What the arithmetic at the start makes of the darkest and of the brightest pixel of each channel.
        ends = (_RANGE / 255 - np.asarray(mean)) / np.asarray(std)
        for number, node in enumerate(graph.node, 1):
            with numbered(number, brief(f"{node.op_type} {node.name}".strip())):
                settings = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
                if node.op_type == "Constant":
                    constants[node.output[0]] = _array(onnx, settings["value"])
                    continue
                given = [constants[name] for name in node.input if name in constants]
                flowing = [name for name in node.input if name and name not in constants]
                if flowing != [value] or (node.input[0] != value and node.op_type not in ("Add", "Mul")):
                    raise ValueError("npl0 has chains only, where it takes the result of the one before it alone")
                value = node.output[0]
                ending = node.op_type in ("Softmax", "LogSoftmax") and value == result.name
                if ending or node.op_type in ("Identity", "Dropout"):
                    continue
                last = layers[-1] if layers else None
                if node.op_type == "Add" and isinstance(last, Linear) and last.bias is None:
                    last.bias = Parameter(np.zeros(last.out_features, np.float32), "bias")
                    last.bias.value[...] = given[0].ravel()
                elif node.op_type in _ARITHMETIC and not layers:
                    if given[0].size != 1 and given[0].shape[-len(shape) :] != (shape[0], *[1] * (len(shape) - 1)):
                        raise ValueError("npl0 calculates with one number for all pixels of a channel")
                    ends = _ARITHMETIC[node.op_type](ends, given[0].ravel())
                else:
                    layers += _standardise(ends, shape) if not layers else []
                    layers.append(_layer(node.op_type, given, settings))
        if value != result.name:
            raise ValueError("its output is not the result of its last operator")
        network = Network(layers, shape, Path(path).stem, None)
    return network


def _array(onnx: Any, tensor: Any) -> np.ndarray:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"{brief(tensor.name)} is in another file; export with external_data=False, into one file")
    array = onnx.numpy_helper.to_array(tensor)
    if array.dtype.kind not in "fi" or not np.isfinite(array.astype(np.float32)).all():
        raise ValueError(f"{brief(tensor.name)} holds {array.dtype}, and npl0 takes finite numbers only")
    return array


def _standardise(ends: np.ndarray, shape: Shape) -> list[Layer]:
    """Return the layer that makes 0 and 255 of each channel the ends: -mean / std and (1 - mean) / std."""
    if np.allclose(ends, _RANGE):
        return []
    # float32 takes off the errors of rounding, which could make a std of 1 too large.
    std = np.broadcast_to(1 / (ends[1] - ends[0]), shape[:1]).astype(np.float32)
    return [Standardise((-ends[0] * std).astype(np.float32) + 0, std)]


def _layer(operator: str, given: list[np.ndarray], settings: dict[str, Any]) -> Layer:
    """Return the layer that does what an operator does with these constants; ValueError if there is none."""
    if operator not in _LAYERS:
        raise ValueError(f"npl0 has no layer for it; it takes {', '.join(_LAYERS)}, and arithmetic at the start")
    for name in settings.keys() & _MUST.keys():
        if settings[name] != _MUST[name]:
            raise ValueError(f"npl0 has no {name} = {brief(settings[name])}")
    kind, pooled = _LAYERS[operator], operator in ("MaxPool", "AveragePool")
    size, stride, padding = (settings.get(*entry) for entry in (("kernel_shape", [1]), ("strides", [1]), ("pads", [0])))
    if any(len(set(numbers)) != 1 for numbers in (size, stride, padding)) or (pooled and any(padding)):
        raise ValueError("npl0 has square kernels, strides and padding alone, and no padding of pooling")
    if operator == "Reshape" and len(given[0]) != 2:
        raise ValueError(f"npl0 reshapes to (N, features) only, not to {brief(given[0].tolist())}")
    if kind in (ReLU, Flatten):
        return kind()
    if pooled:
        return kind(size[0], stride[0])
    if kind is BatchNorm:
        layer = BatchNorm(len(given[0]))
        layer.scale.value[...], layer.shift.value[...], layer.running_mean[...], variance = given
        layer.running_var[...] = variance + settings.get("epsilon", EPSILON) - EPSILON
        return layer
    weight, *bias = given
    weight = weight.T if kind is Linear and not settings.get("transB") else weight
    convolution = (weight.shape[2], stride[0], padding[0]) if kind is Conv2d else ()
    layer = kind(weight.shape[1], len(weight), *convolution, bias=bool(bias))
    layer.weight.value = weight.astype(np.float32)
    if bias:
        layer.bias.value[...] = bias[0].ravel()
    return layer
