"""Which tensors of a model do not depend on its input data, and how each of them can be expressed again.

A tensor is *static* if it can be computed from weights and shapes alone. If static tensors stayed operators, they
would have to cross every boundary between their maker and their users. ``Shape`` would also need the tensor that
it reads. If a static tensor is expressed again beside its user, it crosses nothing:

- A weight is already there.
- Shape arithmetic with the same result at all batch sizes becomes a constant.
- Shape arithmetic whose result is linear in the batch is rebuilt from any tensor that has the batch as a
  length (:mod:`penstock.graph.specialise`).
- A tensor that is computed from weights alone is copied: a runtime computes it once, when it loads the model. It is
  not folded here, because runtimes recognise such patterns (quantised weights above all).

Everything else stays an operator, including a model's output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from penstock.graph.reading.interpret import Observation, Value, is_random


@dataclass(frozen=True)
class Weight:
    """An initializer of the model."""


@dataclass(frozen=True)
class Constant:
    """The same ``value`` at every batch."""

    value: Value


@dataclass(frozen=True)
class LinearInBatch:
    """``offset + slope * batch``: integer arrays of one shape."""

    offset: Value
    slope: Value


@dataclass(frozen=True)
class Copy:
    """An output of ``node``, whose inputs are static and not linear in the batch."""

    node: onnx.NodeProto


Expression = Weight | Constant | LinearInBatch | Copy


def express_static(proto: onnx.ModelProto, observations: Sequence[Observation]) -> Mapping[str, Expression]:
    """An expression for every static tensor of ``proto``, observed at one batch size or at three.

    Three show whether a tensor is linear. A model of fixed batch size has only one, and nothing in it varies.
    """
    expressions: dict[str, Expression] = {weight.name: Weight() for weight in proto.graph.initializer}
    returned = {each.name for each in proto.graph.output}
    from_shapes: set[str] = set()
    for node in proto.graph.node:
        is_measurement = node.op_type in ("Shape", "Size") and not node.domain
        inputs = [name for name in node.input if name]
        outputs = [name for name in node.output if name]
        is_static = is_measurement or (bool(inputs) and all(name in expressions for name in inputs))
        if not is_static or is_random(node) or not returned.isdisjoint(outputs):
            continue
        if is_measurement or not from_shapes.isdisjoint(inputs):
            from_shapes.update(outputs)
        found = [_express(node, name, name in from_shapes, expressions, observations) for name in outputs]
        expressions.update(
            (name, one)
            for name, one in zip(outputs, found, strict=True)
            if one is not None and None not in found
        )
    return expressions


def _express(
    node: onnx.NodeProto,
    name: str,
    is_from_shapes: bool,
    expressions: Mapping[str, Expression],
    observations: Sequence[Observation],
) -> Expression | None:
    values = [each.values[name] for each in observations if name in each.values]
    if len(values) < len(observations):
        varies = any(isinstance(expressions[each], LinearInBatch) for each in node.input if each)
        return None if varies else Copy(node)
    if all(_same(values[0], value) for value in values):
        return Constant(values[0]) if is_from_shapes else Copy(node)
    return _linear(values, observations)


def _same(one: Value, other: Value) -> bool:
    """Equal in every bit, so that NaN equals itself."""
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _linear(values: Sequence[Value], observations: Sequence[Observation]) -> LinearInBatch | None:
    """The line through all ``values``, if they are integers on a line."""
    if values[0].dtype not in (np.int32, np.int64) or len({value.shape for value in values}) > 1:
        return None
    first, second = observations[0].batch, observations[1].batch
    slope = (values[1] - values[0]) // (second - first)
    offset = values[0] - slope * first
    on_line = (
        np.array_equal(offset + slope * each.batch, value)
        for each, value in zip(observations, values, strict=True)
    )
    return LinearInBatch(offset, slope) if all(on_line) else None
