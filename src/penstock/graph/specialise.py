"""Independent operators: each contains the static tensors that it needs.

After this step a model is a list of :class:`Standalone` operators that exchange only activations. So it can
be cut between any two of them. Shape arithmetic does not cross a cut, and it keeps no tensor in memory.

A value that is linear in the batch is computed again by each operator that needs it. The batch size is read from the
shape of a tensor that the operator reads anyway. If there is none, it is read from a tensor that crosses the boundary
before it anyway, and otherwise from a model input. A ``Reshape`` does not need this: its batch axis becomes -1. An
operator that reads no activation (for example, a class token repeated for every sample) moves to just before its
first user. So its result crosses no boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx

from penstock.graph.reading.interpret import Observation
from penstock.graph.reading.static_tensors import express_static
from penstock.graph.standalone import Standalone, Writer


def specialise(proto: onnx.ModelProto, observations: Sequence[Observation]) -> tuple[Standalone, ...]:
    """The operators of ``proto`` that its outputs depend on, in topological order.

    ``proto`` has no subgraphs, and all its constants are initializers.
    """
    expressions = express_static(proto, observations)
    nodes = [
        node for node in proto.graph.node if not all(name in expressions for name in node.output if name)
    ]
    bare = [
        Standalone(
            node,
            tuple(dict.fromkeys(name for name in node.input if name and name not in expressions)),
            tuple(name for name in node.output if name),
        )
        for node in nodes
    ]
    returned = [each.name for each in proto.graph.output]
    ordered = _sink_sources(_needed(bare, returned))
    writer = Writer(proto, expressions, observations)
    lengths = _BatchLengths(proto, ordered, observations)
    return tuple(writer.write(one, partial(lengths.nearest, place)) for place, one in enumerate(ordered))


def _needed(operators: Sequence[Standalone], returned: Sequence[str]) -> list[Standalone]:
    """The operators whose result reaches an output of the model."""
    wanted = set(returned)
    kept = []
    for operator in reversed(operators):
        if not wanted.isdisjoint(operator.outputs):
            kept.append(operator)
            wanted.update(operator.inputs)
    return kept[::-1]


def _sink_sources(operators: Sequence[Standalone]) -> list[Standalone]:
    """Move operators without inputs to just before their first user. Those without a user move to the end."""
    waiting = [operator for operator in operators if not operator.inputs]
    ordered = []
    for operator in operators:
        if not operator.inputs:
            continue
        ready = [source for source in waiting if not set(source.outputs).isdisjoint(operator.inputs)]
        waiting = [source for source in waiting if source not in ready]
        ordered += [*ready, operator]
    return ordered + waiting


class _BatchLengths:
    """From which tensors an operator can read the batch size: those with an axis as long as the batch."""

    def __init__(
        self, proto: onnx.ModelProto, operators: Sequence[Standalone], observations: Sequence[Observation]
    ) -> None:
        self._operators = operators
        self._observations = observations
        self._model_inputs = [each.name for each in proto.graph.input if self._axis(each.name) is not None]
        self._made = {name: place for place, one in enumerate(operators) for name in one.outputs}
        self._last_use = {name: place for place, one in enumerate(operators) for name in one.inputs}
        self._last_use.update({each.name: len(operators) for each in proto.graph.output})

    def nearest(self, place: int) -> tuple[str, int]:
        """The tensor, and its axis, from which the operator at ``place`` reads the batch size at the least cost."""
        crossing = [name for name, last in self._last_use.items() if self._made.get(name, -1) < place <= last]
        crossing.sort(key=lambda name: int(np.prod(self._observations[0].shapes[name])))
        candidates = (*self._operators[place].inputs, *crossing, *self._model_inputs)
        return next((name, axis) for name in candidates if (axis := self._axis(name)) is not None)

    def _axis(self, name: str) -> int | None:
        shapes = [each.shapes[name] for each in self._observations]
        for axis in range(len(shapes[0])):
            if all(shape[axis] == each.batch for shape, each in zip(shapes, self._observations, strict=True)):
                return axis
        return None
