"""Which operators must share a block in every partition that beats a target.

Let T be a target. The least cost of a block that holds operator u but not its neighbour v, over all ways to choose the
blocks before and after, bounds from below what separating them costs. If it reaches T, all partitions under T keep u
and v together. If the least cost of a block that merely holds u reaches T, there is no partition under T. Merging makes
other separations dearer, so rounds are repeated while they find something.

Only operators that alone cost T or more are probed: for the others {u} is a block under T that separates u
from everything. This step is ours; :mod:`.near` computes the least costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.partition.bounds.contraction import merged
from penstock.partition.bounds.near import NearProbe, alone, neighbours_of
from penstock.partition.budget import Stop
from penstock.partition.problem import I64, PartitionProblem


@dataclass(frozen=True)
class Merged:
    """``problem`` has the same partitions under the target as the original; ``is_impossible``: there are none."""

    problem: PartitionProblem
    is_impossible: bool


def merge_for_target(problem: PartitionProblem, target: float, stop: Stop) -> Merged:
    """Merge what every partition of cost under ``target`` (> 0) keeps together; ends early where ``stop`` says so."""
    current = problem
    while True:
        group = _round(current, target, stop)
        if group is None:
            return Merged(current, is_impossible=True)
        if len(np.unique(group)) == current.n_operators:
            return Merged(current, is_impossible=False)
        current, _ = merged(current, group)


def _round(problem: PartitionProblem, target: float, stop: Stop) -> I64 | None:
    """Groups of operators that belong together, (n,); None where some operator can be in no block under the target."""
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
