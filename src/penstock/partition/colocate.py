"""Merge operators that must share a block into one: the smallest acyclic graph that keeps them together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from penstock.arrays import I64
from penstock.partition.problem import PartitionProblem, TensorUse, make_problem
from penstock.partition.topology import first_cycle


def colocated(problem: PartitionProblem, colour: Sequence[Hashable]) -> PartitionProblem:
    """``problem`` with operators of one ``colour`` (n,) merged. Operators with colour None are not merged.

    If a path leaves a colour and comes back to it, all operators on the path must be in the same block too. They are
    merged with it. A merged operator has the name of its heaviest member and the number of its other members.
    """
    group = _groups(problem, colour)
    members = [np.flatnonzero(group == each) for each in range(int(group.max()) + 1)]
    tensors = [
        TensorUse(
            int(group[maker]) if maker >= 0 else -1,
            tuple(
                {int(each) for each in group[problem.users(tensor)]}
                - ({int(group[maker])} if maker >= 0 else set())
            ),
            float(problem.tensor_time[tensor]),
            bool(problem.is_output[tensor]),
        )
        for tensor, maker in enumerate(problem.tensor_maker.tolist())
    ]
    work = np.array([problem.work[each].sum() for each in members])
    names = [_name(problem, each) for each in members]
    return make_problem(problem.name, names, work, tensors)


def _groups(problem: PartitionProblem, colour: Sequence[Hashable]) -> I64:
    """The group of each operator, numbered by first appearance. The graph of the groups is acyclic."""
    label: dict[Hashable, int] = {}
    keys = [("alone", i) if each is None else ("colour", each) for i, each in enumerate(colour)]
    group = np.array([label.setdefault(key, len(label)) for key in keys], np.int64)
    while True:
        edges = group[problem.edges()]
        inner = edges[edges[:, 0] != edges[:, 1]]
        cycle = first_cycle(int(group.max()) + 1, inner.tolist())
        if not cycle:
            return group
        group[np.isin(group, cycle)] = min(cycle)
        group = np.unique(group, return_inverse=True)[1].astype(np.int64)


def _name(problem: PartitionProblem, members: I64) -> str:
    heaviest = problem.operators[int(members[np.argmax(problem.work[members])])]
    return heaviest if len(members) == 1 else f"{heaviest} (+{len(members) - 1})"
