"""Merge operators that must share a block, or leave operators out, to get a smaller problem.

Both keep lower bounds valid. *Merging*: assume that every partition better than a target keeps the operators of each
group together. Then the merged problem has the same partitions under the target, with the same costs. If groups form
a cycle, they must be together and are merged too, because blocks only go forward. *Leaving out*: take a partition of
all operators and keep only some operators. Its blocks cost no more than before, because each tensor that a reduced
block moves is also moved by the whole block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.partition.problem import PartitionProblem, TensorUse, make_problem


def merged(problem: PartitionProblem, group: I64) -> tuple[PartitionProblem, I64]:
    """``problem`` with each group merged into one operator, and the merged operator of each operator, (n,).

    ``group`` (n,) holds any labels. Tensors inside a group are removed. Tensors with the same ends are added up.
    """
    group = _with_cycles(problem, np.unique(group, return_inverse=True)[1].astype(np.int64))
    count = int(group.max()) + 1
    activation = np.zeros(count)
    np.maximum.at(activation, group, problem.activation_time)
    result = make_problem(
        problem.name,
        [str(index) for index in range(count)],
        np.bincount(group, problem.work, count).astype(np.float64),
        _merged_tensors(problem, group),
        parameter_time=np.bincount(group, problem.parameter_time, count).astype(np.float64),
        activation_time=activation,
        memory_time=problem.memory_time,
    )
    rank = np.empty(count, np.int64)
    rank[[int(name) for name in result.operators]] = np.arange(count)
    return result, rank[group]


def _merged_tensors(problem: PartitionProblem, group: I64) -> list[TensorUse]:
    total: dict[tuple[int, tuple[int, ...], bool], float] = {}
    for tensor in range(problem.n_tensors):
        made_by = int(problem.tensor_maker[tensor])
        maker = int(group[made_by]) if made_by >= 0 else -1
        users = tuple(sorted({int(group[user]) for user in problem.users(tensor)} - {maker}))
        key = (maker, users, bool(problem.is_output[tensor]))
        total[key] = total.get(key, 0.0) + float(problem.tensor_time[tensor])
    return [TensorUse(maker, users, time, out) for (maker, users, out), time in total.items()]


def _with_cycles(problem: PartitionProblem, group: I64) -> I64:
    """``group`` with groups merged until they form no cycle. Labels are 0, 1, ..."""
    edges = np.unique(group[problem.edges()].reshape(-1, 2), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    count = int(group.max()) + 1
    successors: list[list[int]] = [[] for _ in range(count)]
    for maker, user in edges:
        successors[maker].append(int(user))
    return _strong_components(successors)[group]


def _strong_components(successors: list[list[int]]) -> I64:
    """The strongly connected component of each node, by Tarjan's algorithm without recursion."""
    count = len(successors)
    index, low = [-1] * count, [0] * count
    component = np.full(count, -1, np.int64)
    pending: list[int] = []
    found = visited = 0
    for root in range(count):
        walk = [(root, 0)] if index[root] < 0 else []
        while walk:
            node, at = walk.pop()
            if at == 0:
                index[node] = low[node] = visited
                visited += 1
                pending.append(node)
            else:
                low[node] = min(low[node], low[successors[node][at - 1]])
            while at < len(successors[node]):
                child = successors[node][at]
                at += 1
                if index[child] < 0:
                    walk += [(node, at), (child, 0)]
                    break
                if component[child] < 0:
                    low[node] = min(low[node], index[child])
            else:
                if low[node] == index[node]:
                    while component[node] < 0:
                        component[pending.pop()] = found
                    found += 1
    return component


def induced(problem: PartitionProblem, kept: NDArray[np.bool_]) -> tuple[PartitionProblem, I64]:
    """The operators ``kept`` (n,) with the tensors between them, and their indices in ``problem``.

    A model input stays if it has a kept user, and a model output stays if its maker is kept. Memory is ignored, which
    only lowers costs.
    """
    names = np.flatnonzero(kept)
    label = np.full(problem.n_operators, -1)
    label[names] = np.arange(len(names))
    tensors = []
    for tensor in range(problem.n_tensors):
        made_by = int(problem.tensor_maker[tensor])
        if made_by >= 0 and not kept[made_by]:
            continue
        users = tuple(int(label[user]) for user in problem.users(tensor) if kept[user])
        maker = int(label[made_by]) if made_by >= 0 else -1
        if users or (maker >= 0 and problem.is_output[tensor]):
            out = bool(problem.is_output[tensor]) and maker >= 0
            tensors.append(TensorUse(maker, users, float(problem.tensor_time[tensor]), out))
    operators = [problem.operators[index] for index in names]
    # Operators are in topological order, and make_problem keeps this order.
    return make_problem(problem.name, operators, problem.work[names], tensors), names
