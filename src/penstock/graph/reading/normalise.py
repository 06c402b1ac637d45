"""A normal form: ONNX lets a file say the same in several ways.

After this step operators have unique names, constants are initializers, and initializers are not inputs. Optional
outputs without readers are removed, and the standard domain has its empty name. Models that the
project cannot cut are refused when their shapes are inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from penstock.errors import BadInputError
from penstock.graph.reading.interpret import Observation
from penstock.graph.reading.needed_nodes import reads_of

_OPTIONAL = defs.OpSchema.FormalParameterOption.Optional

_CONSTANT_DTYPES = {"value_float": np.float32, "value_floats": np.float32} | {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_string": object,
    "value_strings": object,
}


def normalise(proto: onnx.ModelProto) -> onnx.ModelProto:
    """``proto`` in the normal form, changed in place.

    It may be applied again after nodes were added. Raises :class:`BadInputError` for sparse constants.
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
        if node.op_type == "Constant" and not node.domain:
            graph.initializer.append(_constant(node))
        else:
            node.name = _unique(node.name or f"{node.op_type}_{index}", names)
            nodes.append(_tensor_of(node))
    _drop_unread_outputs(nodes, proto)
    for values, kept in ((graph.input, kept_inputs), (graph.node, nodes)):
        copies = list(kept)
        del values[:]
        values.extend(copies)
    return proto


def name_squeezed_axes(proto: onnx.ModelProto, observations: Sequence[Observation]) -> None:
    """Give every Squeeze without axes those that have length 1 at all observed batches.

    Without axes it would drop the batch axis too if the batch is 1.
    """
    opset = next(one.version for one in proto.opset_import if not one.domain)
    for node in proto.graph.node:
        has_axes = len(node.input) > 1 or any(each.name == "axes" for each in node.attribute)
        if node.op_type != "Squeeze" or node.domain or has_axes or len(observations) < 2:
            continue
        shapes = [each.shapes[node.input[0]] for each in observations]
        axes = [axis for axis in range(len(shapes[0])) if all(shape[axis] == 1 for shape in shapes)]
        if opset < 13:
            node.attribute.append(helper.make_attribute("axes", axes))
        else:
            weight = numpy_helper.from_array(np.array(axes, np.int64), f"{node.name}/axes")
            proto.graph.initializer.append(weight)
            node.input.append(weight.name)
            for each in observations:
                each.element_types[weight.name] = onnx.TensorProto.INT64
                each.shapes[weight.name] = (len(axes),)
                each.values[weight.name] = np.array(axes, np.int64)


def _tensor_of(node: onnx.NodeProto) -> onnx.NodeProto:
    """``node``, or for a ZipMap its input: no protocol carries a list of maps, and the probabilities are the same."""
    if (node.domain, node.op_type) != ("ai.onnx.ml", "ZipMap"):
        return node
    return helper.make_node("Identity", node.input, node.output, name=node.name)


def _short(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _unique(name: str, names: set[str]) -> str:
    candidates = (name if number == 0 else f"{name}_{number}" for number in count())
    unique = next(each for each in candidates if each not in names)
    names.add(unique)
    return unique


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
            f"dense tensor."
        )
    return numpy_helper.from_array(np.array(value, _CONSTANT_DTYPES[attribute.name]), node.output[0])


def _drop_unread_outputs(nodes: list[onnx.NodeProto], proto: onnx.ModelProto) -> None:
    """Masks of Dropout, sequences of a GRU. Inference does not know all of them, and runtimes would compute them."""
    opsets = {one.domain: one.version for one in proto.opset_import}
    read = {name for node in nodes for name in reads_of(node)} | {each.name for each in proto.graph.output}
    for node in nodes:
        try:
            declared = defs.get_schema(node.op_type, opsets[node.domain], node.domain).outputs
        except defs.SchemaError:
            continue  # onnxruntime's own operators
        for position, name in enumerate(node.output):
            # Outputs after the declared ones belong to a variadic last output, which is never optional.
            is_optional = declared[min(position, len(declared) - 1)].option == _OPTIONAL
            if is_optional and name not in read:
                node.output[position] = ""
        while node.output and not node.output[-1]:
            node.output.pop()


def refuse_constant_outputs(graph: onnx.GraphProto) -> None:
    """:class:`BadInputError` for an output that depends on no operator."""
    weights = {weight.name for weight in graph.initializer}
    for output in graph.output:
        if output.name in weights:
            raise BadInputError(
                f"output {output.name!r} is a constant that no input changes. Take it out of the outputs."
            )
