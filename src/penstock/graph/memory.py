"""Memory of a span of operators: activations at their peak, and parameters."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from penstock.graph.cuts import boundary_bytes
from penstock.graph.model_graph import ModelGraph


def live_bytes(graph: ModelGraph) -> NDArray[np.int64]:
    """Bytes per sample alive while each operator runs: int64, shape (n_operators,).

    That is what crosses the boundary before it, its inputs among them, and its outputs beside. No output
    overwrites an input: a runtime may do so for elementwise operators, but none promises it.
    """
    made = [
        sum(graph.tensors[name].bytes_per_sample for name in operator.outputs) for operator in graph.operators
    ]
    return boundary_bytes(graph)[:-1] + np.array(made, np.int64)


def peak_activation_bytes(graph: ModelGraph, start: int, stop: int) -> int:
    """The most bytes per sample alive at once in operators ``[start, stop)``, run one by one; 0 if empty.

    Tensors that only pass through the span count: its worker holds them until it sends them on.
    """
    return int(live_bytes(graph)[start:stop].max(initial=0))


def parameter_bytes(graph: ModelGraph, start: int, stop: int) -> int:
    """Bytes of the weights of operators ``[start, stop)``; a weight that several of them read counts once."""
    span = graph.operators[start:stop]
    readers = Counter(name for operator in span for name in operator.parameters)
    repeated = sum((count - 1) * graph.parameters[name] for name, count in readers.items())
    return sum(operator.parameter_bytes for operator in span) - repeated
