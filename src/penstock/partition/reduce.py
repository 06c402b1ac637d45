"""A smaller problem with the same optimum: operators without work join the neighbour that they belong to.

An operator v with work 0 may be moved beside a neighbour without making any block slower, and so be merged with it,

- forward of its maker: v uses one tensor only, is its only user, and what it makes takes no longer to move than
  that tensor (a view, a copy, a sink);
- ahead of its user: v makes one tensor only, that has one user, and what it uses takes no longer to move (a weight, a
  constant, a concatenation of views).

Proof: after the move the block of v no longer pays for v's tensors on that side, and at most for those of the other,
which are no more; the neighbour's block trades the one tensor for the others; no other block sees a change. v has one
neighbour on that side only, so no cycle arises. Bounds of the small problem are therefore bounds of the large one.
Only for problems without a limit on memory: parameters would move too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.partition.problem import PartitionProblem, TensorUse, make_problem

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Reduced:
    """``problem`` is the small one; ``member_of[i]`` (n,) is its operator that holds operator i of the large one."""

    problem: PartitionProblem
    member_of: I64

    def expand(self, block: I64) -> I64:
        """Blocks of the large problem's operators from those of the small one's."""
        return block[self.member_of]


def reduce_problem(problem: PartitionProblem) -> Reduced:
    """The small problem; the same one where nothing can be merged."""
    if problem.has_memory:
        return Reduced(problem, np.arange(problem.n_operators))
    merger = _Merger(problem)
    merger.run()
    return merger.result()


class _Merger:
    """The graph as sets, shrinking; tensors and operators keep their numbers of the large problem."""

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

    def run(self) -> None:
        idle = [i for i, work in enumerate(self.problem.work.tolist()) if work == 0]
        changed = True
        while changed:
            changed = False
            for operator in idle:
                if self.into[operator] == operator and (
                    self._join_maker(operator) or self._join_user(operator)
                ):
                    changed = True

    def _total(self, tensors: set[int]) -> float:
        return float(sum(self.time[tensor] for tensor in tensors))

    def _is_private(self, tensor: int) -> bool:
        """Whether it is made inside the model and has one user, inside too."""
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
        """All that ``operator`` uses and makes is the ``neighbour``'s, but the tensor ``between`` them."""
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

    def result(self) -> Reduced:
        def root(operator: int) -> int:
            while self.into[operator] != operator:
                operator = self.into[operator]
            return operator

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
