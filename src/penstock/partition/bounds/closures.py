"""What must come before and after each operator: the work of ancestors and descendants, and the necessary edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.partition.problem import PartitionProblem


@dataclass(frozen=True)
class Closures:
    """``ancestor_work`` and ``descendant_work`` (n,): work of all operators before, or after, each, including itself.

    ``direct_edges`` (e, 2): the edges that no longer path implies. They give the same order as all edges.
    """

    ancestor_work: F64
    descendant_work: F64
    direct_edges: I64

    @classmethod
    def of(cls, problem: PartitionProblem) -> Closures:
        """From the edges of ``problem``. It touches O(edges n / 8) bytes."""
        n = problem.n_operators
        edges = np.unique(problem.edges(), axis=0)
        before = np.eye(n, dtype=np.bool_)
        for maker, user in edges[np.argsort(edges[:, 1], kind="stable")]:
            before[user] |= before[maker]
        return cls(
            ancestor_work=before @ problem.work,
            descendant_work=before.T @ problem.work,
            direct_edges=_reduce(edges, before),
        )


def _reduce(edges: I64, before: NDArray[np.bool_]) -> I64:
    """The edges (u, v) for which no other predecessor of v has u among its ancestors."""
    makers_of: dict[int, list[int]] = {}
    for maker, user in edges:
        makers_of.setdefault(int(user), []).append(int(maker))
    kept = []
    for user, makers in makers_of.items():
        reached = before[makers].sum(axis=0)
        kept += [(maker, user) for maker in makers if reached[maker] == 1]
    return np.array(kept, np.int64).reshape(-1, 2)
