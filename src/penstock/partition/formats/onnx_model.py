"""A model graph as a partitioning problem: measured or predicted operator times, and tensors by their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.arrays import F64
from penstock.graph.model_graph import ModelGraph
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.problem import TensorUse, make_problem
from penstock.units import transfer_us


def model_problem(
    graph: ModelGraph,
    operator_us: F64 | Sequence[float],
    bandwidth_gbps: float,
    *,
    memory_bytes: float | None = None,
    with_ends: bool = True,
) -> GraphFile:
    """The problem of ``graph`` in microseconds per sample. ``operator_us`` (n_operators,) is in its order.

    ``with_ends``: blocks pay for receiving the model's inputs and sending its outputs, as a served pipeline does.
    ``memory_bytes``: the memory of a device. A block needs its parameters and the largest set of tensors that one of
    its operators reads and writes. The part that exceeds the memory is streamed at ``bandwidth_gbps``. Weights that
    several operators read count for each of them.
    """
    made = {name: index for index, each in enumerate(graph.operators) for name in each.outputs}
    users: dict[str, list[int]] = {}
    for index, operator in enumerate(graph.operators):
        for name in operator.inputs:
            users.setdefault(name, []).append(index)
    outputs = set(graph.outputs) if with_ends else set()
    names = [*(graph.inputs if with_ends else ()), *made]
    tensors = [
        TensorUse(
            made.get(name, -1),
            tuple(users.get(name, ())),
            transfer_us(graph.tensors[name].bytes_per_sample, bandwidth_gbps),
            name in outputs and name in made,
        )
        for name in names
    ]
    memory: dict[str, F64 | float] = {}
    if memory_bytes is not None:
        memory = _memory(graph, memory_bytes, bandwidth_gbps)
    operators = [operator.name for operator in graph.operators]
    problem = make_problem(graph.name, operators, np.asarray(operator_us, np.float64), tensors, **memory)
    return GraphFile(problem, "us")


def _memory(graph: ModelGraph, memory_bytes: float, bandwidth_gbps: float) -> dict[str, F64 | float]:
    held = [
        sum(graph.tensors[name].bytes_per_sample for name in {*operator.inputs, *operator.outputs})
        for operator in graph.operators
    ]
    per_byte = transfer_us(1, bandwidth_gbps)
    return {
        "parameter_time": np.array([each.parameter_bytes for each in graph.operators]) * per_byte,
        "activation_time": np.array(held, np.float64) * per_byte,
        "memory_time": memory_bytes * per_byte,
    }
