"""Tensors and operators for :mod:`penstock.graph.model_graph`, made from the results of shape inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from penstock.errors import BadInputError
from penstock.graph.flops import Operands, flops, sequential_steps
from penstock.graph.model_graph import Operator, Tensor
from penstock.graph.reading.element_types import dtype_name, size_bytes
from penstock.graph.reading.interpret import Observation
from penstock.graph.standalone import Standalone

BATCH_NAME = "batch"
"""The name of the batch axis in the models that we write."""


def describe_tensor(name: str, observations: Sequence[Observation]) -> Tensor:
    """The tensor ``name``, from its shapes at all batches observed.

    Raises :class:`BadInputError` if its size is not proportional to the batch.
    """
    shapes = [each.shapes[name] for each in observations]
    element_type = observations[0].element_types[name]
    shape = merged_shape(shapes)
    batched = -1 in shape
    batch = observations[0].batch if batched else 1
    elements = math.prod(shapes[0])
    proportional = all(
        math.prod(shape) * batch == elements * each.batch
        for shape, each in zip(shapes, observations, strict=True)
    )
    if len({len(shape) for shape in shapes}) > 1 or (batched and (not proportional or elements % batch)):
        seen = ", ".join(f"{list(s)} at batch {o.batch}" for s, o in zip(shapes, observations, strict=True))
        raise BadInputError(
            f"tensor {name!r} is {seen}: its size is not proportional to the batch, so samples cannot be served "
            f"side by side."
        )
    return Tensor(
        name=name,
        dtype=dtype_name(element_type),
        shape=shape,
        batched=batched,
        bytes_per_sample=size_bytes((elements // batch,), element_type),
        rows_per_sample=shapes[0][shape.index(-1)] // batch if batched else 1,
    )


def merged_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Lengths that are equal in all ``shapes``. -1 if they differ."""
    return tuple(lengths[0] if len(set(lengths)) == 1 else -1 for lengths in zip(*shapes, strict=False))


def describe_operator(
    operator: Standalone,
    parameters: Mapping[str, int],
    tensors: Mapping[str, Tensor],
    observation: Observation,
) -> Operator:
    """The cost of ``operator``. ``parameters`` are the bytes of all weights."""
    node = operator.node
    weights = tuple(dict.fromkeys(n for each in operator.nodes for n in each.input if n in parameters))
    grows = any(tensors[name].batched for name in operator.outputs)
    operands = _operands(node, observation)
    steps = sequential_steps(node.op_type, operands)
    return Operator(
        name=node.name,
        kind=node.op_type,
        inputs=operator.inputs,
        outputs=operator.outputs,
        flops=flops(node.op_type, operands) // (observation.batch if grows else 1),
        parameter_bytes=sum(parameters[name] for name in weights),
        parameters=weights,
        steps=steps,
        # Input 2 of RNN, GRU and LSTM: the weights by which the state is multiplied.
        step_bytes=parameters.get(node.input[2], 0) if steps > 1 else 0,
        groups=int(operands.attributes.get("group", 1)),
    )


def _operands(node: onnx.NodeProto, observation: Observation) -> Operands:
    """The operands that the rules get for one run at the observed batch."""
    shapes = observation.shapes
    return Operands(
        inputs=[shapes[name] if name else None for name in node.input],
        outputs=[shapes[name] for name in node.output if name],
        attributes={each.name: helper.get_attribute_value(each) for each in node.attribute},
    )


def value_info(name: str, observations: Sequence[Observation]) -> onnx.ValueInfoProto:
    """Name, type and shape of a tensor for an ONNX file. Its batch axis is called ``batch``."""
    shapes = [each.shapes[name] for each in observations]
    batches = [each.batch for each in observations]
    lengths = [
        found[0] if len(set(found)) == 1 else _axis_name(found, batches)
        for found in zip(*shapes, strict=True)
    ]
    return helper.make_tensor_value_info(name, observations[0].element_types[name], lengths)


def _axis_name(lengths: Sequence[int], batches: Sequence[int]) -> str:
    """``batch``, or ``batch*12`` if several axes were merged into one. Another length has another name."""
    multiple = lengths[0] // batches[0]
    return BATCH_NAME if multiple == 1 else f"{BATCH_NAME}*{multiple}"
