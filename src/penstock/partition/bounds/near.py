"""The least cost of a block around one operator, from only the operators near it.

It uses three segments L | M | R (see :mod:`.segments`) with the operator in M, and the linear relaxation. So a probe
takes milliseconds. Distant operators are left out, which only lowers costs (see :mod:`.contraction`). So the result
is a lower bound on the block that holds the operator in any partition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64
from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.contraction import induced
from penstock.partition.bounds.programs.bound_program import LinearProbe
from penstock.partition.bounds.programs.segments import SegmentProgram
from penstock.partition.problem import PartitionProblem

NEAR = 40
"""The number of operators around the probed one that a probe uses. On the reference graphs, 120 found no more."""


def alone(problem: PartitionProblem) -> F64:
    """The cost of each operator as a block of its own, without memory: shape (n,)."""
    counts, n = np.diff(problem.use_first), problem.n_operators
    received = np.bincount(problem.uses, np.repeat(problem.tensor_time, counts), n)
    made = problem.tensor_maker >= 0
    return problem.work + received + np.bincount(problem.tensor_maker[made], problem.tensor_time[made], n)


def neighbours_of(problem: PartitionProblem) -> list[set[int]]:
    """For each operator, the operators that share a tensor with it, as its maker or its user."""
    near: list[set[int]] = [set() for _ in range(problem.n_operators)]
    for maker, user in problem.edges():
        near[maker].add(int(user))
        near[user].add(int(maker))
    return near


class NearProbe:
    """Probes of one ``operator``. Answers are parts of ``scale``, a cost > 0."""

    def __init__(
        self, problem: PartitionProblem, operator: int, neighbours: list[set[int]], scale: float
    ) -> None:
        near, self._names = induced(problem, _around(operator, neighbours))
        segments = SegmentProgram(
            near, (None, 1, None), cutoff=scale, closures=Closures.of(near), at_most_cutoff=False
        )
        self._operator, self._probe = operator, LinearProbe(segments.program)
        self._before, self._through = segments.inside
        here = self._place(operator)
        self._held = {int(self._before[here]): 0.0, int(self._through[here]): 1.0}

    def _place(self, operator: int) -> int:
        return int(np.searchsorted(self._names, operator))

    def held(self) -> float:
        """The least cost of a block that holds the operator."""
        return self._probe.minimum(self._held)

    def held_without(self, neighbour: int) -> float:
        """The least cost of a block that holds the operator but not ``neighbour``."""
        there = self._place(neighbour)
        earlier = neighbour < self._operator
        apart = (int(self._before[there]), 1.0) if earlier else (int(self._through[there]), 0.0)
        return self._probe.minimum({**self._held, apart[0]: apart[1]})


def _around(start: int, neighbours: list[set[int]]) -> NDArray[np.bool_]:
    """About :data:`NEAR` operators that are nearest to ``start``. All its neighbours are included."""
    kept = np.zeros(len(neighbours), np.bool_)
    kept[start] = True
    front, count = [start], 1
    while front and count < NEAR:
        front = sorted({other for each in front for other in neighbours[each] if not kept[other]})
        kept[front] = True
        count += len(front)
    return kept
