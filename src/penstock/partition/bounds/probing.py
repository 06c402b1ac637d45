"""Which operators must share a block in every partition that is better than a target.

Let T be a target. Take the least cost of a block that holds operator u but not its neighbour v, over all choices of
the blocks before and after. It is a lower bound on the cost of separating them. If it reaches T, all partitions under
T keep u and v together. If the least cost of a block that only has to hold u reaches T, there is no partition under
T. Merging makes other separations more expensive. So rounds are repeated as long as they find something.

Only operators that alone cost T or more are probed. For any other operator, {u} is a block under T that separates u
from everything. This step is ours. :mod:`.near` computes the least costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import I64
from penstock.partition.bounds.contraction import merged
from penstock.partition.bounds.near import NearProbe, alone, neighbours_of
from penstock.partition.budget import Stop
from penstock.partition.problem import PartitionProblem


@dataclass(frozen=True)
class Merged:
    """``problem`` has the same partitions under the target as the original. ``is_impossible``: there are none.

    ``member_of`` (n,): the operator of ``problem`` that holds each operator of the original.
    """

    problem: PartitionProblem
    member_of: I64
    is_impossible: bool


def merge_for_target(problem: PartitionProblem, target: float, stop: Stop) -> Merged:
    """Merge what every partition of cost under ``target`` (> 0) keeps together. ``stop`` may end it early."""
    current, member_of = problem, np.arange(problem.n_operators)
    while True:
        group = _round(current, target, stop)
        if group is None:
            return Merged(current, member_of, is_impossible=True)
        if len(np.unique(group)) == current.n_operators:
            return Merged(current, member_of, is_impossible=False)
        current, place = merged(current, group)
        member_of = place[member_of]


def _round(problem: PartitionProblem, target: float, stop: Stop) -> I64 | None:
    """Groups of operators that belong together, (n,). None if some operator fits in no block under the target."""
    group = np.arange(problem.n_operators)
    neighbours, own = neighbours_of(problem), alone(problem)
    for operator in np.argsort(-own).tolist():
        if own[operator] < target or stop():
            break
        probe = NearProbe(problem, operator, neighbours, target)
        if probe.held() >= 1.0:
            return None
        for other in neighbours[operator]:
            if group[other] != group[operator] and probe.held_without(other) >= 1.0:
                group[group == group[other]] = group[operator]
    return group
