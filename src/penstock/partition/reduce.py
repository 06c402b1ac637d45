"""A smaller problem with the same optimum: operators without work are merged into a neighbour.

An operator v with work 0 may be moved to the block of a neighbour without making any block slower. So it can be
merged with it in two cases:

- with its maker: v uses only one tensor and is its only user, and the tensors that v makes take no longer to move
  than that tensor (a view, a copy, a sink);
- with its user: v makes only one tensor, which has one user, and the tensors that v uses take no longer to move (a
  weight, a constant, a concatenation of views).

Proof: after the move, the block of v no longer pays for v's tensor on that side. It pays at most for the tensors on
the other side, which cost no more. The neighbour's block pays for the other tensors instead of that one. No other
block changes. v has only one neighbour on that side, so no cycle arises. So bounds of the small problem are also
bounds of the large one. This is only for problems without a limit on memory, because parameters would move too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from penstock.arrays import I64
from penstock.partition.problem import PartitionProblem, TensorUse, make_problem


@dataclass(frozen=True)
class Reduced:
    """``problem`` is the small one. ``member_of[i]`` (n,) is its operator that holds operator i of the large one."""

    problem: PartitionProblem
    member_of: I64

    def expand(self, block: I64) -> I64:
        """Blocks of the large problem's operators, from those of the small problem's operators."""
        return block[self.member_of]


def reduce_problem(problem: PartitionProblem) -> Reduced:
    """The small problem. It is the same problem if nothing can be merged."""
    if problem.has_memory:
        return Reduced(problem, np.arange(problem.n_operators))
    merger = _Merger(problem)
    merger.run()
    return merger.result()


class _Merger:
    """The graph as sets, which become smaller. Tensors and operators keep their numbers of the large problem."""

    def __init__(self, problem: PartitionProblem) -> None:
        self.problem = problem
        self.users = [set(problem.users(t).tolist()) for t in range(problem.n_tensors)]
        self.maker = problem.tensor_maker.tolist()
        self.time = problem.tensor_time.tolist()
        self.used: list[set[int]] = [set() for _ in problem.operators]
        self.made: list[set[int]] = [set() for _ in problem.operators]
        for tensor, users in enumerate(self.users):
            for user in users:
                self.used[user].add(tensor)
            if self.maker[tensor] >= 0:
                self.made[self.maker[tensor]].add(tensor)
        self.into = list(range(problem.n_operators))
        self.is_idle = (problem.work == 0).tolist()
        self.is_waiting = list(self.is_idle)
        self.waiting = deque(np.flatnonzero(problem.work == 0).tolist())

    def run(self) -> None:
        """Look at each idle operator once, and again after a merge that may concern it: about linear time."""
        while self.waiting:
            operator = self.waiting.popleft()
            self.is_waiting[operator] = False
            if self.into[operator] == operator and not self._join_maker(operator):
                self._join_user(operator)

    def _look_at(self, operator: int) -> None:
        if operator >= 0 and self.is_idle[operator] and not self.is_waiting[operator]:
            self.waiting.append(operator)
            self.is_waiting[operator] = True

    def _total(self, tensors: set[int]) -> float:
        return float(sum(self.time[tensor] for tensor in tensors))

    def _is_private(self, tensor: int) -> bool:
        """Whether it is made inside the model and has exactly one user, also inside."""
        single = len(self.users[tensor]) == 1 and not self.problem.is_output[tensor]
        return single and self.maker[tensor] >= 0

    def _join_maker(self, operator: int) -> bool:
        if len(self.used[operator]) != 1:
            return False
        (tensor,) = self.used[operator]
        if not self._is_private(tensor) or self._total(self.made[operator]) > self.time[tensor]:
            return False
        self._merge(operator, self.maker[tensor], tensor)
        return True

    def _join_user(self, operator: int) -> bool:
        if len(self.made[operator]) != 1:
            return False
        (tensor,) = self.made[operator]
        if not self._is_private(tensor) or self._total(self.used[operator]) > self.time[tensor]:
            return False
        self._merge(operator, next(iter(self.users[tensor])), tensor)
        return True

    def _merge(self, operator: int, neighbour: int, between: int) -> None:
        """Give all tensors of ``operator`` to ``neighbour``, except the tensor ``between`` them."""
        self.used[neighbour].discard(between)
        self.made[neighbour].discard(between)
        self.users[between] = set()
        for tensor in self.used[operator] - {between}:
            self.users[tensor].discard(operator)
            self.users[tensor].add(neighbour)
            self.used[neighbour].add(tensor)
        for tensor in self.made[operator] - {between}:
            self.maker[tensor] = neighbour
            self.made[neighbour].add(tensor)
        self.into[operator] = neighbour
        self._look_at(neighbour)
        # A tensor that became private may let its ends merge. With several users it concerns nobody.
        for tensor in (self.used[operator] | self.made[operator]) - {between}:
            if len(self.users[tensor]) == 1:
                self._look_at(self.maker[tensor])
                self._look_at(next(iter(self.users[tensor])))

    def result(self) -> Reduced:
        def root(operator: int) -> int:
            last = operator
            while self.into[last] != last:
                last = self.into[last]
            # The operators on the way then need one step only, or a long chain would take quadratic time.
            while self.into[operator] != operator:
                self.into[operator], operator = last, self.into[operator]
            return last

        names = self.problem.operators
        kept = [i for i in range(len(names)) if self.into[i] == i]
        if len(kept) == len(names):
            return Reduced(self.problem, np.arange(len(names)))
        rank = {operator: index for index, operator in enumerate(kept)} | {-1: -1}
        tensors = [
            TensorUse(rank[maker], tuple(rank[user] for user in users), time, bool(is_output))
            for maker, users, time, is_output in zip(
                self.maker, self.users, self.time, self.problem.is_output, strict=True
            )
            if users or is_output
        ]
        small = make_problem(self.problem.name, [names[i] for i in kept], self.problem.work[kept], tensors)
        place = {name: index for index, name in enumerate(small.operators)}
        member_of = [place[names[root(i)]] for i in range(len(names))]
        return Reduced(small, np.array(member_of, np.int64))
