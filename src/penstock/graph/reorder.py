"""The same model with its operators in another topological order, so that it can be cut at other points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import onnx

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel


def reordered(model: OnnxModel, order: Sequence[int]) -> OnnxModel:
    """``model`` with operator ``order[i]`` at position i.

    In this way a partition with an acyclic quotient becomes contiguous blocks: order by block, then by position.
    Every boundary then carries everything that crosses it, including skip connections
    (:func:`penstock.graph.split.split`).

    Raises :class:`BadInputError` unless ``order`` holds each operator once and after those that it needs.
    """
    operators = model.graph.operators
    if sorted(order) != list(range(len(operators))):
        raise BadInputError(
            f"{model.path}: an order must hold each of {len(operators)} operators once (it has {len(order)} entries). "
            f"Correct it."
        )
    # ModelGraph itself refuses an operator that comes before its inputs are made.
    graph = replace(model.graph, operators=tuple(operators[index] for index in order))
    pieces = [range(model.node_starts[index], model.node_starts[index + 1]) for index in order]
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    return replace(
        model, proto=_with_nodes(model.proto, list(chain(*pieces))), graph=graph, node_starts=tuple(starts)
    )


def _with_nodes(proto: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    nodes = [proto.graph.node[index] for index in order]
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made
