"""ONNX models: the file that ONNX Runtime and other programs run."""

from typing import Any

import numpy as np

from npl0.nn.base import Layer, Shape
from npl0.nn.conv import Conv2d
from npl0.nn.layers import AvgPool2d, Flatten, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm
from npl0.ops.norm import EPSILON
from npl0.sparse.compact import compact
from npl0.sparse.writer import layer_kinds
from npl0.storage.files import optional

OPSET, IR_VERSION = 17, 8  # of 2022, which every runtime in use takes
_LAYERS = {"Conv": Conv2d, "BatchNormalization": BatchNorm, "Gemm": Linear, "MaxPool": MaxPool2d}
_LAYERS |= {"AveragePool": AvgPool2d, "Relu": ReLU, "Flatten": Flatten}


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
