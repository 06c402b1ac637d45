"""The exact program: every block is its own segment.

With widths (1, ..., 1) the rows of :mod:`.segments` say that each block costs at most t. So the minimum is the
optimum (Archer et al., ICML 2024, section 3, in variables for prefixes instead of blocks). It is k times as large as
the graph. So it is for small graphs, or for graphs in which the windows on work fix most operators.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.programs.bound_program import Enclosed
from penstock.partition.bounds.programs.segments import Window
from penstock.partition.bounds.superblocks import solve_superblocks
from penstock.partition.problem import PartitionProblem

MOST_COLUMNS = 6_000
"""If operators times blocks exceed this, the linear relaxation alone takes minutes."""


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
    """The optimum, with its bound lowered by the solver's slack. If time ends the run, what is known about it.

    ``cutoff`` is the cost of a known partition, > 0. ``windows`` has one entry for each j in 0..k.
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
