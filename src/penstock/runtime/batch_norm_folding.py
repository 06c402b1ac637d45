"""Batch normalisation folded into the convolution before it, as every runtime does for inference.

With f = s / sqrt(v + e):  y = f (W x + b - m) + t  is a convolution with kernel f W and bias f (b - m) + t.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]


def fold_batch_normalization(graph: onnx.GraphProto) -> int:
    """Fold in place what can be folded; the number of operators that went.

    Only if all five parameters and the kernel are constants, and nothing else reads the convolution's result.
    """
    weights = {one.name: one for one in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(one.name for one in graph.output)
    makers = {name: node for node in graph.node for name in node.output}
    gone = []
    for node in graph.node:
        if node.op_type != "BatchNormalization" or len([name for name in node.output if name]) != 1:
            continue
        conv = makers.get(node.input[0])
        if conv is None or conv.op_type != "Conv" or readers[node.input[0]] != 1:
            continue
        bias = conv.input[2] if len(conv.input) > 2 else ""
        names = [*node.input[1:], conv.input[1], *([bias] if bias else [])]
        if any(name not in weights for name in names):
            continue
        _fold_one(graph, conv, node, weights, bias)
        gone.append(node)
    for node in gone:
        graph.node.remove(node)
    return len(gone)


def _fold_one(
    graph: onnx.GraphProto,
    conv: onnx.NodeProto,
    norm: onnx.NodeProto,
    weights: dict[str, onnx.TensorProto],
    bias: str,
) -> None:
    scale, shift, mean, variance = (_float64(weights[name]) for name in norm.input[1:5])
    epsilon = next((one.f for one in norm.attribute if one.name == "epsilon"), 1e-5)
    kernel = numpy_helper.to_array(weights[conv.input[1]])
    factor = scale / np.sqrt(variance + epsilon)
    before = _float64(weights[bias]) if bias else np.zeros_like(mean)
    folded_kernel = kernel.astype(np.float64) * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    made = norm.output[0]
    names = (f"{made}/folded_kernel", f"{made}/folded_bias")
    for name, array in zip(names, (folded_kernel, (before - mean) * factor + shift), strict=True):
        graph.initializer.append(numpy_helper.from_array(array.astype(kernel.dtype), name))
        weights[name] = graph.initializer[-1]
    del conv.input[1:]
    conv.input.extend(names)
    conv.output[0] = made


def _float64(tensor: onnx.TensorProto) -> Array:
    array: Array = numpy_helper.to_array(tensor).astype(np.float64)
    return array
