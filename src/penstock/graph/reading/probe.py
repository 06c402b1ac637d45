"""Types of an operator's outputs where ONNX's own inference has no rule: from the operator's definition, or from a run.

Operators that are functions of others (GroupNormalization, GreaterOrEqual at older opsets) are inferred as a model of
one node, which expands them. Others (com.microsoft, most of ai.onnx.ml) are run on the CPU, as a model of one node, on
two inputs of the observed shapes. If the shapes of the outputs differ, they depend on data. Each operator is run at
the two smallest batches only. At a larger one its shapes follow the line through these two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import onnx
from onnx import checker, helper, shape_inference

from penstock.errors import BadInputError, MissingExtraError

Types = dict[str, onnx.TypeProto]

_DEPENDS_ON_DATA = frozenset({"NonZero", "Unique", "NonMaxSuppression", "Compress", "StringSplit"})
"""A run on made-up data shows one of many possible shapes."""

_RUNS = 2


def is_complete(found: onnx.TypeProto | None) -> bool:
    """Whether the type is that of a tensor with all lengths known, or of something that is not a tensor."""
    if found is None or found.WhichOneof("value") is None:
        return False
    if not found.HasField("tensor_type"):
        return True
    tensor = found.tensor_type
    return tensor.HasField("shape") and all(length.HasField("dim_value") for length in tensor.shape.dim)


@final
class Probe:
    """What was found out about the operators of one model. Used for all its batches, smallest first."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._imports = list(proto.opset_import)
        self._ir_version = proto.ir_version
        self._runs: dict[str, list[tuple[int, dict[str, tuple[int, tuple[int, ...]]]]]] = {}

    def types(
        self,
        node: onnx.NodeProto,
        types: Mapping[str, onnx.TypeProto],
        data: Mapping[str, onnx.TensorProto],
        batch: int,
    ) -> Types:
        """Types of the outputs of ``node``. Those that cannot be found are missing.

        ``types`` are those of its inputs, ``data`` the known values among them. Raises :class:`MissingExtraError`
        if onnxruntime is needed and is not installed.
        """
        model = self._model(node, types, data)
        found = _expanded(model)
        wanted = [name for name in node.output if name]
        if all(is_complete(found.get(name)) for name in wanted) or node.op_type in _DEPENDS_ON_DATA:
            return found
        runs = self._runs.setdefault(node.name, [])
        if len(runs) < _RUNS and (not runs or runs[-1][0] < batch):
            runs.append((batch, self._run(model, node)))
        if runs[-1][0] == batch or len(runs) == 1:
            return {
                name: helper.make_tensor_type_proto(kind, shape)
                for name, (kind, shape) in runs[-1][1].items()
            }
        return _on_the_line(runs[0], runs[1], batch)

    def _model(
        self, node: onnx.NodeProto, types: Mapping[str, onnx.TypeProto], data: Mapping[str, onnx.TensorProto]
    ) -> onnx.ModelProto:
        """``node`` alone, with the known values as weights."""
        names = dict.fromkeys(name for name in node.input if name)
        inputs = [onnx.ValueInfoProto(name=name, type=types[name]) for name in names if name not in data]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "probe", inputs, outputs)
        for name in names:
            if name in data:
                graph.initializer.append(data[name])
                graph.initializer[-1].name = name
        return helper.make_model(graph, opset_imports=self._imports, ir_version=self._ir_version)

    def _run(self, model: onnx.ModelProto, node: onnx.NodeProto) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Element type and shape of each output, from two runs. Empty if they differ."""
        from penstock.runtime.onnx_session import import_onnxruntime

        try:
            runtime = import_onnxruntime()
        except MissingExtraError:
            raise MissingExtraError(
                f"inferring operator {node.op_type} of domain {node.domain or 'ai.onnx'}", "serve"
            ) from None
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception types have no public common base
            raise BadInputError(
                f"operator {node.name!r} ({node.op_type} of domain {node.domain or 'ai.onnx'}) has no shape inference, "
                f"and onnxruntime {runtime.__version__} cannot run it on the CPU: {_one_line(error)}. Export the model "
                f"without it."
            ) from None
        made = [self._outputs(session, model, fill) for fill in (1, 2)]
        shapes = [None if one is None else {name: array.shape for name, array in one.items()} for one in made]
        if made[0] is None and made[1] is None:
            return {}
        if made[0] is not None and made[1] is not None and shapes[0] != shapes[1]:
            return {}
        arrays = made[0] if made[0] is not None else made[1]
        assert arrays is not None
        return {name: (_element_type(array), array.shape) for name, array in arrays.items()}

    def _outputs(self, session: Any, model: onnx.ModelProto, fill: int) -> dict[str, Any] | None:
        feeds = {each.name: _filled(each.type, fill) for each in model.graph.input}
        names = [each.name for each in session.get_outputs()]
        try:
            values = session.run(names, feeds)
        except Exception:  # its exception types have no public common base
            # The other filling may work: 0 is no valid length, 1 no valid index of a short axis.
            return None
        if not all(isinstance(value, np.ndarray) for value in values):
            return None
        return dict(zip(names, values, strict=True))


def _expanded(model: onnx.ModelProto) -> Types:
    """What ONNX infers of the whole model, functions expanded. Nothing if it fails."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, checker.ValidationError, ValueError, RuntimeError):
        return {}
    return {each.name: each.type for each in inferred.graph.output if each.type.WhichOneof("value")}


def _filled(type_proto: onnx.TypeProto, fill: int) -> Any:
    """0, 1, ... ``fill`` - 1, 0, ...: zeros, or zeros and ones in turn, so that what counts values shows itself."""
    tensor = type_proto.tensor_type
    shape = [length.dim_value for length in tensor.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    values = np.arange(int(np.prod(shape))).reshape(shape) % fill
    if dtype.kind == "O":
        return values.astype(np.str_).astype(object)
    return values.astype(dtype)


def _element_type(array: Any) -> int:
    if array.dtype.kind in "OU":
        return int(onnx.TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _on_the_line(
    first: tuple[int, Mapping[str, tuple[int, Sequence[int]]]],
    second: tuple[int, Mapping[str, tuple[int, Sequence[int]]]],
    batch: int,
) -> Types:
    types: Types = {}
    for name, (kind, low) in first[1].items():
        high = second[1].get(name, (kind, ()))[1]
        if len(high) != len(low):
            continue
        slopes = [(b - a) / (second[0] - first[0]) for a, b in zip(low, high, strict=True)]
        lengths = [round(a + slope * (batch - first[0])) for a, slope in zip(low, slopes, strict=True)]
        types[name] = helper.make_tensor_type_proto(kind, lengths)
    return types


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]
