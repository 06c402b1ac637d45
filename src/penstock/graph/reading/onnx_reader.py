"""From an ONNX file to a :class:`ModelGraph` and a model that can be cut at any boundary.

Which axis of an input is the batch, and what becomes of other free axes, :mod:`penstock.graph.reading.input_axes` says.
If all inputs of a model have fixed lengths, the model is one sample: nothing in it is batched, and it runs only in
this form.

Inference runs at three batch sizes, and the shapes are compared. An axis that differs is the axis of the batch
(-1 in :class:`Tensor`). The size of a tensor must be proportional to the batch. Otherwise samples cannot be
served together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx

from penstock.errors import BadInputError, PenstockError
from penstock.graph.describe import describe_operator, describe_tensor, value_info
from penstock.graph.model_graph import ModelGraph, Tensor
from penstock.graph.reading.element_types import weight_bytes
from penstock.graph.reading.free_batch import free_baked_batch
from penstock.graph.reading.input_axes import batch_keys, settle_inputs
from penstock.graph.reading.interpret import Observation, observe
from penstock.graph.reading.known_branches import inline_known_branches
from penstock.graph.reading.normalise import name_squeezed_axes, normalise, refuse_constant_outputs
from penstock.graph.reading.onnx_file import load_onnx
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.graph.reading.probe import Probe
from penstock.graph.specialise import specialise
from penstock.graph.standalone import Standalone

_BATCHES = (2, 3, 1021)
"""Two near sizes give a line, a distant one confirms it. Not 1, because it broadcasts against every length."""


@dataclass(frozen=True)
class OnnxModel:
    """A model ready to be cut.

    Operator ``i`` of ``graph`` is the nodes ``node_starts[i]`` up to ``node_starts[i + 1]`` of ``proto``. Its
    own node is the last, after those that make its static inputs. Only activations go from one operator to another.
    Weights may be shared. ``sha256`` is of the file as read, with its external data files if it has any.
    """

    proto: onnx.ModelProto
    graph: ModelGraph
    path: Path
    sha256: str
    node_starts: tuple[int, ...]
    options: ReadOptions = AS_IT_IS


def read_onnx(path: Path, options: ReadOptions = AS_IT_IS) -> OnnxModel:
    """The model in ``path``, with inferred shapes and folded shape arithmetic. ``options``: what the user decided.

    Raises :class:`BadInputError` for a file that is missing, not ONNX, cut short or without its external
    data, for an unknown operator or opset, and for shapes that cannot be resolved.
    """
    try:
        return _read(path, options)
    except BadInputError as error:
        text = str(error).removeprefix(f"{path}: ")
        raise BadInputError(f"{path}: {text}{_advice_on_batch(path, options)}") from None


def _read(path: Path, options: ReadOptions) -> OnnxModel:
    loaded, sha256 = load_onnx(path)
    shapes = settle_inputs(loaded, options)
    proto = normalise(loaded)
    inline_known_branches(proto, partial(_shapes_at, shapes), (1, *_BATCHES))
    refuse_constant_outputs(proto.graph)
    if options.free_batch:
        free_baked_batch(proto, shapes)
    observations = _observe(proto, shapes)
    name_squeezed_axes(proto, observations)
    operators = specialise(proto, observations)
    tensors = _describe_tensors(proto, operators, observations)
    graph = _graph(path.stem, proto, operators, tensors, observations[0])
    starts = [0]
    for operator in operators:
        starts.append(starts[-1] + len(operator.nodes))
    _rewrite(proto, operators, graph, observations)
    return OnnxModel(proto, graph, path, sha256, tuple(starts), options)


def _advice_on_batch(path: Path, options: ReadOptions) -> str:
    """For a model that cannot be read with a free batch: how to fix it at 1, if that helps. Empty if it does not."""
    try:
        batch = batch_keys(load_onnx(path)[0], options)
        if not batch or options.free_batch:
            return ""
        _read(path, replace(options, lengths={**options.lengths, **dict.fromkeys(batch, 1)}))
    except PenstockError:
        return ""
    fixed = " ".join(f"--dim {key}=1" for key in batch)
    return (
        f" With a batch of 1 it can be read: serve one sample a run with {fixed}, or export the model again. If that "
        f"axis is no batch, give its length."
    )


def _observe(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Observation, ...]:
    batches = _BATCHES if any(-1 in shape for shape in shapes.values()) else _BATCHES[:1]
    probe = Probe(proto)
    return tuple(observe(proto, _shapes_at(shapes, batch), batch, probe) for batch in batches)


def _shapes_at(shapes: Mapping[str, tuple[int, ...]], batch: int) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(batch if length == -1 else length for length in shape) for name, shape in shapes.items()
    }


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
    """Replace the nodes by ``operators``, with the shape of every activation. Weights are not copied."""
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
