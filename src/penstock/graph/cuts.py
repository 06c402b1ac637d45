"""What crosses each point of a model: the tensors that a cut there must transfer, and their size.

A tensor crosses every boundary from just after its maker to just before its last user. The model's inputs
are made before the first operator, and its outputs are used after the last. So a skip connection crosses
all boundaries it spans. It crosses each of them once, for any number of users.

Reading a shape is not a use, because :mod:`penstock.graph.specialise` has folded or rebuilt shape arithmetic.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import I64
from penstock.graph.model_graph import ModelGraph


def boundary_tensors(graph: ModelGraph) -> tuple[tuple[str, ...], ...]:
    """The tensors that cross each boundary: length ``n_operators + 1``.

    Entry 0 is all of the model's inputs, in its order. Entry n is all of its outputs, in its order. The other entries
    have the order in which tensors are made. An output made early crosses every later boundary.
    """
    crossing: list[list[str]] = [[] for _ in range(len(graph.operators) + 1)]
    for name, (first, last) in crossing_spans(graph).items():
        for boundary in range(first, last + 1):
            crossing[boundary].append(name)
    crossing[-1] = list(graph.outputs)
    return tuple(tuple(names) for names in crossing)


def boundary_bytes(graph: ModelGraph) -> I64:
    """Bytes per sample that cross each boundary: int64, shape (n_operators + 1,), in O(edges).

    All bytes of a tensor that is not batched count, as if it were sent with every sample.
    """
    change = np.zeros(len(graph.operators) + 2, np.int64)
    for name, (first, last) in crossing_spans(graph).items():
        size = graph.tensors[name].bytes_per_sample
        change[first] += size
        change[last + 1] -= size
    crossing: I64 = np.cumsum(change)[:-1]
    return crossing


def crossing_spans(graph: ModelGraph) -> dict[str, tuple[int, int]]:
    """The first and the last boundary that each tensor crosses, in the order in which tensors are made.

    A tensor without users crosses none and is left out. Model inputs are not left out: they cross boundary 0.
    """
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, 0)
    for position, operator in enumerate(graph.operators):
        last.update(dict.fromkeys(operator.inputs, position))
        first.update(dict.fromkeys(operator.outputs, position + 1))
    last.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    return {name: (start, last[name]) for name, start in first.items() if name in last}
