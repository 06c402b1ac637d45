"""One operator with everything it needs except activations, and the code that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import onnx
from onnx import helper, numpy_helper

from penstock.graph.reading.interpret import Observation, Value
from penstock.graph.reading.static_tensors import Constant, Copy, Expression, LinearInBatch

BatchLength = Callable[[], tuple[str, int]]
"""The name of a tensor, and its axis whose length is the batch size."""


@dataclass(frozen=True)
class Standalone:
    """One operator. ``node`` is the original one. ``nodes``, once written, are those of its static inputs and its
    own.

    ``inputs`` and ``outputs`` are activations. ``new_weights`` are initializers made for it.
    """

    node: onnx.NodeProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[onnx.NodeProto, ...] = ()
    new_weights: tuple[onnx.TensorProto, ...] = ()


@dataclass
class _Draft:
    """What has been written so far for one operator. ``made``: new names of static tensors."""

    owner: str
    batch_length: BatchLength
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    activations: list[str] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)


class Writer:
    """Writes operators with their static inputs. It knows all names, so that new names are unique."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        expressions: Mapping[str, Expression],
        observations: Sequence[Observation],
    ) -> None:
        self._expressions = expressions
        self._observations = observations
        self._taken = set(observations[0].shapes)

    def write(self, bare: Standalone, batch_length: BatchLength) -> Standalone:
        """``bare`` with its own nodes and weights, which make its static inputs."""
        node = bare.node
        draft = _Draft(node.name, batch_length)
        own = onnx.NodeProto()
        own.CopyFrom(node)
        for position, name in enumerate(node.input):
            if name in self._expressions:
                own.input[position] = self._static_input(node, position, draft)
        inputs = tuple(dict.fromkeys((*bare.inputs, *draft.activations)))
        return replace(bare, nodes=(*draft.nodes, own), inputs=inputs, new_weights=tuple(draft.weights))

    def _static_input(self, node: onnx.NodeProto, position: int, draft: _Draft) -> str:
        name = node.input[position]
        if isinstance(self._expressions[name], LinearInBatch) and position == 1:
            target = self._shape_without_batch(node)
            if target is not None:
                return self._weight(f"{node.name}/shape", target, draft)
        return self._make(name, draft)

    def _make(self, name: str, draft: _Draft) -> str:
        """Write what makes the static tensor ``name``, and return the name under which it is found."""
        if name not in draft.made:
            match self._expressions[name]:
                case Constant(value):
                    draft.made[name] = self._weight(f"{draft.owner}/{name}", value, draft)
                case LinearInBatch() as line:
                    draft.made[name] = self._line(name, line, draft)
                case Copy(node):
                    self._copy(node, draft)
                case _:
                    return name
        return draft.made[name]

    def _copy(self, node: onnx.NodeProto, draft: _Draft) -> None:
        inputs = [self._make(name, draft) if name else "" for name in node.input]
        outputs = [self._fresh(f"{draft.owner}/{name}") if name else "" for name in node.output]
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.name = f"{draft.owner}/{node.name}"
        copied.ClearField("input")
        copied.ClearField("output")
        copied.input.extend(inputs)
        copied.output.extend(outputs)
        draft.nodes.append(copied)
        draft.made.update(zip(node.output, outputs, strict=True))

    def _line(self, name: str, line: LinearInBatch, draft: _Draft) -> str:
        """``offset + slope * batch``. The batch is read from a tensor's shape."""
        source, axis = draft.batch_length()
        draft.activations.append(source)
        prefix = f"{draft.owner}/{name}"

        def add(kind: str, *inputs: str, **attributes: int) -> str:
            made = self._fresh(f"{prefix}/{kind.lower()}")
            draft.nodes.append(helper.make_node(kind, inputs, [made], name=made, **attributes))
            return made

        def weight(what: str, value: Value) -> str:
            return self._weight(f"{prefix}/{what}", value.astype(np.int64), draft)

        batch = add("Gather", add("Shape", source), weight("axis", np.array(axis)))
        scaled = add("Mul", batch, weight("slope", line.slope))
        result = add("Add", scaled, weight("offset", line.offset))
        if line.slope.dtype == np.int64:
            return result
        return add("Cast", result, to=helper.np_dtype_to_tensor_dtype(line.slope.dtype))

    def _shape_without_batch(self, node: onnx.NodeProto) -> Value | None:
        """A constant target for Reshape or Expand with the same meaning at every batch. None if there is none."""
        made = [each.shapes[node.output[0]] for each in self._observations]
        varying = [axis for axis, lengths in enumerate(zip(*made, strict=True)) if len(set(lengths)) > 1]
        if node.op_type == "Reshape" and len(varying) == 1 and 0 not in made[0]:
            target = np.array(made[0], np.int64)
            target[varying] = -1
            return target
        if node.op_type == "Expand":
            # If the input already has the batch, expanding it by 1 does not change it.
            read = [each.shapes[node.input[0]] for each in self._observations]
            rank, read_rank = len(made[0]), len(read[0])
            has_batch = all(
                axis >= rank - read_rank
                and all(r[axis - rank + read_rank] == m[axis] for r, m in zip(read, made, strict=True))
                for axis in varying
            )
            if has_batch:
                target = np.array(made[0], np.int64)
                target[varying] = 1
                return target
        return None

    def _weight(self, name: str, value: Value, draft: _Draft) -> str:
        fresh = self._fresh(name)
        draft.weights.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), fresh))
        return fresh

    def _fresh(self, name: str) -> str:
        candidates = (name if number == 0 else f"{name}_{number}" for number in count())
        fresh = next(each for each in candidates if each not in self._taken)
        self._taken.add(fresh)
        return fresh
