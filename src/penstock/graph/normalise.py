"""One form for what ONNX lets a file say in several ways.

After this step operators have unique names, constants are initializers, initializers are no inputs, optional
outputs that nobody reads are gone, and the standard domain has its empty name. What the
project cannot cut is refused here.
"""

from __future__ import annotations

from itertools import count

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from penstock.errors import BadInputError

_OPTIONAL = defs.OpSchema.FormalParameterOption.Optional

_CONSTANT_DTYPES = {"value_float": np.float32, "value_floats": np.float32} | {
    "value_int": np.int64,
    "value_ints": np.int64,
}


def normalise(proto: onnx.ModelProto) -> onnx.ModelProto:
    """``proto`` in the one form, changed in place.

    Raises :class:`BadInputError` for subgraphs (If, Loop, Scan), for sparse or string constants, and for an
    output that depends on no operator.
    """
    for opset in proto.opset_import:
        opset.domain = _short(opset.domain)
    graph = proto.graph
    weights = {weight.name for weight in graph.initializer}
    kept_inputs = [each for each in graph.input if each.name not in weights]
    nodes = []
    names: set[str] = set()
    for index, node in enumerate(graph.node):
        node.domain = _short(node.domain)
        _refuse_subgraphs(node)
        if node.op_type == "Constant" and not node.domain:
            graph.initializer.append(_constant(node))
        else:
            node.name = _unique(node.name or f"{node.op_type}_{index}", names)
            nodes.append(node)
    _refuse_constant_outputs(graph)
    _drop_unread_outputs(nodes, proto)
    for values, kept in ((graph.input, kept_inputs), (graph.node, nodes)):
        copies = list(kept)
        del values[:]
        values.extend(copies)
    return proto


def _short(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _unique(name: str, names: set[str]) -> str:
    candidates = (name if number == 0 else f"{name}_{number}" for number in count())
    unique = next(each for each in candidates if each not in names)
    names.add(unique)
    return unique


def _refuse_subgraphs(node: onnx.NodeProto) -> None:
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise BadInputError(
            f"operator {node.name!r} ({node.op_type}) has a subgraph, whose cost depends on data. Export the "
            f"model without control flow."
        )


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """The value of a Constant node as an initializer."""
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        weight = onnx.TensorProto()
        weight.CopyFrom(value)
        weight.name = node.output[0]
        return weight
    if attribute.name not in _CONSTANT_DTYPES:
        raise BadInputError(
            f"constant {node.output[0]!r} is given as {attribute.name}, which is not supported. Export it as a "
            f"dense tensor of numbers."
        )
    return numpy_helper.from_array(np.array(value, _CONSTANT_DTYPES[attribute.name]), node.output[0])


def _drop_unread_outputs(nodes: list[onnx.NodeProto], proto: onnx.ModelProto) -> None:
    """Masks of Dropout, sequences of a GRU: inference knows not all of them, and runtimes would make them."""
    opsets = {one.domain: one.version for one in proto.opset_import}
    read = {name for node in nodes for name in node.input} | {each.name for each in proto.graph.output}
    for node in nodes:
        declared = defs.get_schema(node.op_type, opsets[node.domain], node.domain).outputs
        for position, name in enumerate(node.output):
            # Outputs beyond the declared ones belong to a variadic last one, which is never optional.
            is_optional = declared[min(position, len(declared) - 1)].option == _OPTIONAL
            if is_optional and name not in read:
                node.output[position] = ""
        while node.output and not node.output[-1]:
            node.output.pop()


def _refuse_constant_outputs(graph: onnx.GraphProto) -> None:
    weights = {weight.name for weight in graph.initializer}
    for output in graph.output:
        if output.name in weights:
            raise BadInputError(
                f"output {output.name!r} is a constant that no input changes. Take it out of the outputs."
            )
