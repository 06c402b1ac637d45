"""What a model does at one batch size: the shape of every tensor, and the values of shape arithmetic.

It is one pass in topological order. ONNX's own inference gives each operator's output types from its input types,
and from input values if they are known. Where it has no rule, :mod:`penstock.graph.reading.probe` finds out. An
operator is evaluated if all its inputs are known and small. ``Shape`` is always evaluated. So
``Shape -> Gather -> Concat -> Reshape`` is resolved at any depth. Symbolic inference does not guarantee that. At one
batch size nothing is symbolic: shapes are numbers.

Invariant: every tensor has a type with all lengths known. Otherwise :class:`BadInputError` is raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import checker, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from penstock.errors import BadInputError
from penstock.graph.reading.element_types import is_sized
from penstock.graph.reading.probe import Probe, is_complete

Value = NDArray[Any]

LARGEST_VALUE = 4096
"""Elements. Shape arithmetic uses far fewer. Weights that are computed from other weights may have more."""

_RANDOM = frozenset(
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]
)


@dataclass(frozen=True)
class Observation:
    """The results at ``batch``: ONNX element type and shape of every tensor, and known small values."""

    batch: int
    element_types: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)


def is_random(node: onnx.NodeProto) -> bool:
    """Whether ``node`` gives a different result each time."""
    return node.op_type in _RANDOM


def observe(
    proto: onnx.ModelProto,
    input_shapes: Mapping[str, tuple[int, ...]],
    batch: int,
    probe: Probe | None = None,
) -> Observation:
    """Shapes and values of all tensors of ``proto``. Its inputs have ``input_shapes`` at this ``batch``.

    ``probe`` keeps what runs of operators showed, for the next batch. Raises :class:`BadInputError` if operands do not
    fit together, or if a shape depends on data.
    """
    return _Interpreter(proto, input_shapes, batch, probe or Probe(proto)).run()


class _Interpreter:
    def __init__(
        self, proto: onnx.ModelProto, input_shapes: Mapping[str, tuple[int, ...]], batch: int, probe: Probe
    ) -> None:
        self._proto = proto
        self._probe = probe
        self._opsets = {one.domain: one.version for one in proto.opset_import}
        self._types: dict[str, onnx.TypeProto] = {}
        self._data: dict[str, onnx.TensorProto] = {}
        self._found = Observation(batch)
        for each in proto.graph.input:
            if each.name in input_shapes:
                element_type = each.type.tensor_type.elem_type
                self._record(each.name, helper.make_tensor_type_proto(element_type, input_shapes[each.name]))
        for weight in proto.graph.initializer:
            self._record(weight.name, helper.make_tensor_type_proto(weight.data_type, weight.dims))
            if math.prod(weight.dims) <= LARGEST_VALUE:
                self._data[weight.name] = weight
                self._found.values[weight.name] = numpy_helper.to_array(weight)

    def run(self) -> Observation:
        for node in self._proto.graph.node:
            types = self._infer(node)
            for name in filter(None, node.output):
                self._check_type(node, name, types.get(name))
                self._record(name, types[name])
            if node.op_type == "Reshape" and not node.domain:
                self._check_elements(node)
            for name, value in self._evaluate(node).items():
                self._found.values[name] = value
                self._data[name] = numpy_helper.from_array(value, name)
        return self._found

    def _record(self, name: str, type_proto: onnx.TypeProto) -> None:
        self._types[name] = type_proto
        tensor = type_proto.tensor_type
        self._found.element_types[name] = tensor.elem_type
        self._found.shapes[name] = tuple(length.dim_value for length in tensor.shape.dim)

    def _infer(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        types = self._infer_by_schema(node)
        missing = [name for name in node.output if name and not is_complete(types.get(name))]
        if missing:
            found = self._probe.types(node, self._types, self._known(node), self._found.batch)
            types |= {name: found[name] for name in missing if name in found}
        return types

    def _known(self, node: onnx.NodeProto) -> dict[str, onnx.TensorProto]:
        return {name: self._data[name] for name in node.input if name in self._data}

    def _infer_by_schema(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        """What ONNX's own rule gives. Nothing for an operator of a domain that onnx does not know."""
        try:
            schema = defs.get_schema(node.op_type, self._opsets[node.domain], node.domain)
        except defs.SchemaError:
            return {}
        present = [name for name in node.input if name]
        try:
            types: dict[str, onnx.TypeProto] = shape_inference.infer_node_outputs(
                schema,
                node,
                {name: self._types[name] for name in present},
                self._known(node),
                opset_imports=list(self._proto.opset_import),
                ir_version=self._proto.ir_version,
            )
        except (shape_inference.InferenceError, checker.ValidationError, ValueError) as error:
            shapes = {name: list(self._found.shapes[name]) for name in present}
            raise BadInputError(
                f"operator {node.name!r} ({node.op_type}) does not fit its inputs {shapes} at batch "
                f"{self._found.batch}: {' '.join(str(error).split()).rstrip('.')}. Correct the model."
            ) from None
        return types

    def _check_type(self, node: onnx.NodeProto, name: str, found: onnx.TypeProto | None) -> None:
        """Every output must be a tensor with a known shape and elements of known size."""
        who = f"output {name!r} of operator {node.name!r} ({node.op_type})"
        if found is not None and not found.HasField("tensor_type"):
            raise BadInputError(f"{who} is not a tensor. Cut the model before that operator.")
        if not is_complete(found):
            raise BadInputError(
                f"{who} has a shape that cannot be resolved: it depends on data, or ONNX cannot infer it. "
                f"End the model before that operator (onnx.utils.extract_model), or replace it."
            )
        assert found is not None
        if not is_sized(found.tensor_type.elem_type):
            raise BadInputError(f"{who} has elements of unknown size. Cut the model before that operator.")

    def _check_elements(self, node: onnx.NodeProto) -> None:
        """ONNX's rule for a Reshape to a constant target does not look at the number of elements."""
        read, made = self._found.shapes[node.input[0]], self._found.shapes[node.output[0]]
        if math.prod(read) != math.prod(made):
            raise BadInputError(
                f"operator {node.name!r} (Reshape) does not fit its inputs {{{node.input[0]!r}: {list(read)}}} at "
                f"batch {self._found.batch}: its target is {list(made)}, with another number of elements. "
                f"Correct the model."
            )

    def _evaluate(self, node: onnx.NodeProto) -> dict[str, Value]:
        """The outputs, if they can be computed from what is known. Otherwise nothing."""
        if node.op_type in ("Shape", "Size") and not node.domain:
            return {node.output[0]: self._measure(node)}
        names = [name for name in node.input if name]
        outputs = [name for name in node.output if name]
        knows_inputs = bool(names) and all(name in self._found.values for name in names)
        is_small = all(math.prod(self._found.shapes[name]) <= LARGEST_VALUE for name in outputs)
        if not knows_inputs or not is_small or is_random(node):
            return {}
        # It is wrapped in a function, because the evaluator assumes the newest opset for a bare node.
        imports = list(self._proto.opset_import)
        function = helper.make_function("penstock", "one", {*names}, outputs, [node], imports)
        feeds = {name: self._found.values[name] for name in names}
        try:
            results = ReferenceEvaluator(function).run(None, feeds, attributes={})
        except Exception:  # its operators raise all kinds of errors
            # This is safe: an unknown value may leave a shape unresolved, and that is reported if it matters.
            return {}
        return {
            name: np.asarray(result).astype(self._dtype(name), copy=False).reshape(self._found.shapes[name])
            for name, result in zip(outputs, results, strict=True)
        }

    def _measure(self, node: onnx.NodeProto) -> Value:
        shape = np.array(self._found.shapes[node.input[0]], np.int64)
        if node.op_type == "Size":
            return np.array(shape.prod(), np.int64)
        limits = {each.name: each.i for each in node.attribute}
        return shape[limits.get("start", 0) : limits.get("end", len(shape))]

    def _dtype(self, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(self._found.element_types[name])
        return dtype
