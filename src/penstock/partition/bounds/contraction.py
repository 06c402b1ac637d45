"""Operators that must share a block become one operator, and operators left out make a smaller problem.

Both keep lower bounds valid. *Merging*: if every partition that beats a target keeps the operators of each group
together, the merged problem has the same partitions under the target with the same costs; a group that a cycle of
groups forces together is merged too, since blocks only go forward. *Leaving out*: a partition of all operators,
restricted to some, has blocks that cost no more, as each tensor that the restricted block moves is moved by the whole
block too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.partition.problem import I64, PartitionProblem, TensorUse, make_problem


def merged(problem: PartitionProblem, group: I64) -> tuple[PartitionProblem, I64]:
    """``problem`` with the operators of each group as one, and the merged operator of each operator, (n,).

    ``group`` (n,) holds any labels. Tensors inside a group vanish; tensors with the same ends are added up.
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
    """``group`` coarsened until the groups form no cycle; labels 0, 1, ..."""
    edges = np.unique(group[problem.edges()].reshape(-1, 2), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    count = int(group.max()) + 1
    successors: list[list[int]] = [[] for _ in range(count)]
    for maker, user in edges:
        successors[maker].append(int(user))
    return _strong_components(successors)[group]


def _strong_components(successors: list[list[int]]) -> I64:
    """The strongly connected component of each node; Tarjan's algorithm without recursion."""
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

    A model input stays while it has a kept user, a model output while its maker is kept. Memory is left out: that only
    lowers costs.
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
    # Operators come in topological order, which make_problem keeps.
    return make_problem(problem.name, operators, problem.work[names], tensors), names
