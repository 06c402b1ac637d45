"""The exact program: every block is a segment of its own.

With widths (1, ..., 1) the rows of :mod:`.segments` say that each block costs at most t, so the minimum is the optimum
(Archer et al., ICML 2024, section 3, in variables for prefixes instead of blocks). Its size is k times the graph's:
for small graphs, or for those where the windows on work settle most operators.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.program import Enclosed
from penstock.partition.bounds.segments import Window
from penstock.partition.bounds.superblocks import solve_superblocks
from penstock.partition.problem import PartitionProblem

MOST_COLUMNS = 6_000
"""Operators times blocks past which the linear relaxation alone takes minutes."""


def is_within_reach(problem: PartitionProblem, k: int) -> bool:
    """Whether the exact program is small enough to be worth its time."""
    return problem.n_operators * k <= MOST_COLUMNS


def solve_exact(
    problem: PartitionProblem,
    k: int,
    *,
    cutoff: float,
    closures: Closures,
    windows: Sequence[Window],
    time_limit_s: float,
    gap: float = 0.0,
) -> Enclosed:
    """The optimum, its bound lowered by the solver's slack, or what is known of it when time ends.

    ``cutoff`` is the cost of a known partition, > 0; ``windows`` has one entry for each j in 0..k.
    """
    return solve_superblocks(
        problem,
        (1,) * k,
        cutoff=cutoff,
        closures=closures,
        windows=windows,
        time_limit_s=time_limit_s,
        gap=gap,
    )
