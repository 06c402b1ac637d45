"""From an ONNX file to a :class:`ModelGraph` and a model that can be cut at any boundary.

The batch is the first axis of an input where that axis has a name, any name, instead of a length. No other
axis of an input may be free. A model whose inputs all have fixed lengths is one sample: nothing in it is
batched, and it runs only as it is.

Shapes come from running inference at three batch sizes and comparing. An axis that differs is the batch's
(-1 in :class:`Tensor`); the size of a tensor must be proportional to the batch, else samples cannot be
served side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from penstock.errors import BadInputError
from penstock.graph.describe import describe_operator, describe_tensor, value_info
from penstock.graph.element_types import has_known_size, weight_bytes
from penstock.graph.interpret import Observation, observe
from penstock.graph.model_graph import ModelGraph, Tensor
from penstock.graph.normalise import normalise
from penstock.graph.onnx_file import load_onnx
from penstock.graph.specialise import specialise
from penstock.graph.standalone import Standalone

_BATCHES = (2, 3, 1021)
"""Two neighbours give a line, a distant one confirms it. Not 1, which broadcasts against every length."""


@dataclass(frozen=True)
class OnnxModel:
    """A model ready to be cut.

    Operator ``i`` of ``graph`` is the nodes ``node_starts[i]`` up to ``node_starts[i + 1]`` of ``proto``: its
    own node last, after those that make its static inputs. Nodes exchange activations only across operators;
    weights may be shared. ``sha256`` is of the file as read, with its external data files if it has any.
    """

    proto: onnx.ModelProto
    graph: ModelGraph
    path: Path
    sha256: str
    node_starts: tuple[int, ...]


def read_onnx(path: Path) -> OnnxModel:
    """The model in ``path``, its shapes inferred and its shape arithmetic folded.

    Raises :class:`BadInputError` for a file that is missing, not ONNX, cut short or without its external
    data; for an unknown operator or opset; and for shapes that cannot be resolved.
    """
    loaded, sha256 = load_onnx(path)
    try:
        proto = normalise(loaded)
        observations = _observe(proto)
        operators = specialise(proto, observations)
        tensors = _describe_tensors(proto, operators, observations)
        graph = _graph(path.stem, proto, operators, tensors, observations[0])
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    starts = [0]
    for operator in operators:
        starts.append(starts[-1] + len(operator.nodes))
    _rewrite(proto, operators, graph, observations)
    return OnnxModel(proto, graph, path, sha256, tuple(starts))


def _observe(proto: onnx.ModelProto) -> tuple[Observation, ...]:
    shapes = {each.name: _input_shape(each) for each in proto.graph.input}
    batches = _BATCHES if any(-1 in shape for shape in shapes.values()) else _BATCHES[:1]
    return tuple(
        observe(
            proto,
            {
                name: tuple(batch if length == -1 else length for length in shape)
                for name, shape in shapes.items()
            },
            batch,
        )
        for batch in batches
    )


def _input_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The shape of a model input, -1 for the batch; :class:`BadInputError` for another free axis."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise BadInputError(
            f"input {value.name!r} is not a tensor of known rank. Export the model with shapes for its inputs."
        )
    if not has_known_size(tensor.elem_type):
        raise BadInputError(
            f"input {value.name!r} does not hold numbers, so its size is unknown. Start the model after it."
        )
    return tuple(_length(value.name, axis, length) for axis, length in enumerate(tensor.shape.dim))


def _length(name: str, axis: int, length: onnx.TensorShapeProto.Dimension) -> int:
    if length.HasField("dim_value"):
        if length.dim_value < 1:
            raise BadInputError(
                f"input {name!r}: axis {axis} has length {length.dim_value}, but a length must be >= 1, or a "
                f"name if it is the batch. Export the model again."
            )
        return int(length.dim_value)
    if axis > 0:
        shown = repr(length.dim_param) if length.dim_param else "unnamed"
        raise BadInputError(
            f"input {name!r}: axis {axis} ({shown}) is free, but only axis 0, the batch, may be. Give it a "
            f"length: export with a fixed shape, or use onnxruntime.tools.make_dynamic_shape_fixed."
        )
    return -1


def _describe_tensors(
    proto: onnx.ModelProto, operators: Sequence[Standalone], observations: Sequence[Observation]
) -> dict[str, Tensor]:
    names = [each.name for each in proto.graph.input]
    names += [name for operator in operators for name in operator.outputs]
    return {name: describe_tensor(name, observations) for name in names}


def _graph(
    name: str,
    proto: onnx.ModelProto,
    operators: Sequence[Standalone],
    tensors: Mapping[str, Tensor],
    observation: Observation,
) -> ModelGraph:
    weights = [*proto.graph.initializer, *(weight for one in operators for weight in one.new_weights)]
    read = {name for one in operators for node in one.nodes for name in node.input}
    parameters = {weight.name: weight_bytes(weight) for weight in weights if weight.name in read}
    return ModelGraph(
        name=name,
        operators=tuple(describe_operator(one, parameters, tensors, observation) for one in operators),
        tensors=tensors,
        inputs=tuple(each.name for each in proto.graph.input),
        outputs=tuple(each.name for each in proto.graph.output),
        parameters=parameters,
    )


def _rewrite(
    proto: onnx.ModelProto,
    operators: Sequence[Standalone],
    graph: ModelGraph,
    observations: Sequence[Observation],
) -> None:
    """Put ``operators`` in place of the nodes, with the shape of every activation. Weights are not copied."""
    described = {name: value_info(name, observations) for name in graph.tensors}
    ends = {*graph.inputs, *graph.outputs}
    whole = proto.graph
    for values in (whole.node, whole.input, whole.output, whole.value_info, whole.quantization_annotation):
        del values[:]
    whole.node.extend(node for operator in operators for node in operator.nodes)
    whole.input.extend(described[name] for name in graph.inputs)
    whole.output.extend(described[name] for name in graph.outputs)
    whole.value_info.extend(value for name, value in described.items() if name not in ends)
    for index in reversed(range(len(whole.initializer))):
        if whole.initializer[index].name not in graph.parameters:
            del whole.initializer[index]
    whole.initializer.extend(weight for operator in operators for weight in operator.new_weights)
