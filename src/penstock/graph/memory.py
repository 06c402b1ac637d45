"""Memory of a span of operators: the peak of activations, and parameters."""

from __future__ import annotations

from collections import Counter

import numpy as np

from penstock.arrays import I64
from penstock.graph.cuts import boundary_bytes
from penstock.graph.model_graph import ModelGraph


def live_bytes(graph: ModelGraph) -> I64:
    """Bytes per sample in memory while each operator runs: int64, shape (n_operators,).

    These are all tensors that cross the boundary before it, including its inputs, and its outputs. An output never
    overwrites an input here: a runtime may do so for elementwise operators, but none guarantees it.
    """
    made = [
        sum(graph.tensors[name].bytes_per_sample for name in operator.outputs) for operator in graph.operators
    ]
    return boundary_bytes(graph)[:-1] + np.array(made, np.int64)


def peak_activation_bytes(graph: ModelGraph, start: int, stop: int) -> int:
    """The most bytes per sample in memory at once in operators ``[start, stop)``, run one by one. 0 if empty.

    Tensors that only pass through the span count too: its worker holds them until it sends them.
    """
    return int(live_bytes(graph)[start:stop].max(initial=0))


def parameter_bytes(graph: ModelGraph, start: int, stop: int) -> int:
    """Bytes of the weights of operators ``[start, stop)``. A weight that several of them read counts once."""
    span = graph.operators[start:stop]
    readers = Counter(name for operator in span for name in operator.parameters)
    repeated = sum((count - 1) * graph.parameters[name] for name, count in readers.items())
    return sum(operator.parameter_bytes for operator in span) - repeated
