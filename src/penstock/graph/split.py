"""A model cut into sub-models that onnxruntime runs, whose chained output equals the whole model's.

A sub-model computes operators ``[start, stop)``. At its start boundary arrive the tensors that cross it; at
its stop boundary leave those that cross that. Some only pass through: they are not in the sub-model's
proto, and its runner hands them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import onnx
from onnx import helper

from penstock.errors import BadInputError
from penstock.graph.cuts import boundary_tensors
from penstock.graph.onnx_reader import OnnxModel


@dataclass(frozen=True)
class SubModel:
    """Operators ``[start, stop)`` of a model, to run.

    ``inputs``: all tensors that cross the start boundary; the proto takes those that it uses.
    ``outputs``: all that cross the stop boundary, each either in ``computed``, which are the proto's
    outputs in this order, or in ``forwarded``.
    """

    proto: onnx.ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    computed: tuple[str, ...]
    forwarded: tuple[str, ...]


def submodel(model: OnnxModel, start: int, stop: int) -> SubModel:
    """Operators ``[start, stop)`` of ``model``, with the weights they use and no others.

    Raises :class:`BadInputError` unless ``0 <= start < stop <= n_operators``.
    """
    n_operators = len(model.graph.operators)
    if not 0 <= start < stop <= n_operators:
        raise BadInputError(
            f"{model.path}: no sub-model of operators [{start}, {stop}): it needs 0 <= start < stop <= "
            f"{n_operators}, the number of operators. Choose boundaries in that range."
        )
    crossing = boundary_tensors(model.graph)
    return _submodel(model, start, stop, crossing[start], crossing[stop])


def split(model: OnnxModel, boundaries: Sequence[int]) -> tuple[SubModel, ...]:
    """The sub-models between the ``boundaries``, which run from 0 to ``n_operators`` and ascend.

    Raises :class:`BadInputError` for boundaries that do not.
    """
    n_operators = len(model.graph.operators)
    ascends = all(start < stop for start, stop in pairwise(boundaries))
    if len(boundaries) < 2 or boundaries[0] != 0 or boundaries[-1] != n_operators or not ascends:
        raise BadInputError(
            f"{model.path}: boundaries (={list(boundaries)}) must ascend from 0 to {n_operators}, the number "
            f"of operators, without repeats. Correct them."
        )
    crossing = boundary_tensors(model.graph)
    return tuple(
        _submodel(model, start, stop, crossing[start], crossing[stop]) for start, stop in pairwise(boundaries)
    )


def _submodel(
    model: OnnxModel, start: int, stop: int, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> SubModel:
    operators = model.graph.operators[start:stop]
    used = {name for operator in operators for name in operator.inputs}
    made = {name for operator in operators for name in operator.outputs}
    taken = tuple(name for name in inputs if name in used)
    computed = tuple(name for name in outputs if name in made)
    return SubModel(
        proto=_proto(model, start, stop, taken, computed),
        inputs=inputs,
        outputs=outputs,
        computed=computed,
        forwarded=tuple(name for name in outputs if name not in made),
    )


def _proto(
    model: OnnxModel, start: int, stop: int, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    whole = model.proto
    described = {
        each.name: each for each in chain(whole.graph.input, whole.graph.value_info, whole.graph.output)
    }
    nodes = whole.graph.node[model.node_starts[start] : model.node_starts[stop]]
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        f"{model.graph.name}[{start}:{stop}]",
        [described[name] for name in inputs],
        [described[name] for name in outputs],
    )
    proto = helper.make_model(
        graph, opset_imports=whole.opset_import, ir_version=whole.ir_version, producer_name="penstock"
    )
    # Last, because making a model copies the graph.
    proto.graph.initializer.extend(each for each in whole.graph.initializer if each.name in read)
    return proto
