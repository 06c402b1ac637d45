"""A model cut into sub-models that onnxruntime runs. Their chained output equals the whole model's output.

A sub-model computes operators ``[start, stop)``. The tensors that cross its start boundary are its inputs. The
tensors that cross its stop boundary are its outputs. Some tensors only pass through: they are not in the sub-model's
proto, and its runner forwards them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import onnx
from onnx import helper

from penstock.errors import BadInputError
from penstock.graph.cuts import boundary_tensors
from penstock.graph.reading.onnx_reader import OnnxModel

OUTSIDE_BYTES = 2**20
"""A weight of this size or more goes to the file beside the model."""

_ALIGNED_BYTES = 64
"""Runtimes map the file into memory; vector instructions like aligned data."""


@dataclass(frozen=True)
class SubModel:
    """Operators ``[start, stop)`` of a model, ready to run.

    ``skeleton`` is the proto without its ``weights``, which belong to the whole model.
    ``inputs``: all tensors that cross the start boundary. The proto takes those that it uses.
    ``outputs``: all tensors that cross the stop boundary. Each is either in ``computed``, which are the proto's
    outputs in this order, or in ``forwarded``.
    """

    skeleton: onnx.ModelProto
    weights: tuple[onnx.TensorProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    computed: tuple[str, ...]
    forwarded: tuple[str, ...]

    @property
    def proto(self) -> onnx.ModelProto:
        """The whole of it in one, with a copy of the weights."""
        made = onnx.ModelProto()
        made.CopyFrom(self.skeleton)
        made.graph.initializer.extend(self.weights)
        return made


def submodel(model: OnnxModel, start: int, stop: int) -> SubModel:
    """Operators ``[start, stop)`` of ``model``, with only the weights that they use.

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
    """The sub-models between the ``boundaries``, which must start at 0, end at ``n_operators`` and ascend.

    Raises :class:`BadInputError` if they do not.
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
    nodes = model.proto.graph.node[model.node_starts[start] : model.node_starts[stop]]
    read = {name for node in nodes for name in node.input}
    return SubModel(
        skeleton=_skeleton(model, start, stop, taken, computed),
        weights=tuple(each for each in model.proto.graph.initializer if each.name in read),
        inputs=inputs,
        outputs=outputs,
        computed=computed,
        forwarded=tuple(name for name in outputs if name not in made),
    )


def save_submodel(part: SubModel, path: Path) -> None:
    """Write ``part`` to ``path``, and large weights to a file beside it: one ONNX file may not pass 2 GiB.

    Weights are written from where they are. They are not copied in memory.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(part.skeleton)
    beside = f"{path.name}.weights"
    large = [one for one in part.weights if len(one.raw_data) >= OUTSIDE_BYTES]
    proto.graph.initializer.extend(one for one in part.weights if len(one.raw_data) < OUTSIDE_BYTES)
    if large:
        with (path.parent / beside).open("wb") as file:
            for weight in large:
                file.write(b"\0" * (-file.tell() % _ALIGNED_BYTES))
                stub = proto.graph.initializer.add(
                    name=weight.name, data_type=weight.data_type, dims=weight.dims
                )
                stub.data_location = onnx.TensorProto.EXTERNAL
                where = {"location": beside, "offset": file.tell(), "length": len(weight.raw_data)}
                for key, value in where.items():
                    stub.external_data.add(key=key, value=str(value))
                file.write(weight.raw_data)
    path.write_bytes(proto.SerializeToString())


def _skeleton(
    model: OnnxModel, start: int, stop: int, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    whole = model.proto
    described = {
        each.name: each for each in chain(whole.graph.input, whole.graph.value_info, whole.graph.output)
    }
    nodes = whole.graph.node[model.node_starts[start] : model.node_starts[stop]]
    graph = helper.make_graph(
        nodes,
        f"{model.graph.name}[{start}:{stop}]",
        [described[name] for name in inputs],
        [described[name] for name in outputs],
    )
    return helper.make_model(
        graph, opset_imports=whole.opset_import, ir_version=whole.ir_version, producer_name="penstock"
    )
