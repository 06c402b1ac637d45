"""The bottleneck bound: the cheapest block that does its share of the work.

Theorem. Some block M of a partition into at most k blocks has work >= total / k. The operators before M, called L,
and L + M are closed under predecessors. So the least cost(M) over all such L | M | R with work(M) >= total / k is a
lower bound. The program has three segments for any k (Archer et al., ICML 2024, section 4).
"""

from __future__ import annotations

from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.programs.bound_program import SLACK, Enclosed, enclose, minimise
from penstock.partition.bounds.programs.segments import SegmentProgram
from penstock.partition.problem import PartitionProblem


def solve_bottleneck(
    problem: PartitionProblem,
    k: int,
    *,
    cutoff: float,
    closures: Closures,
    time_limit_s: float,
    gap: float = 0.0,
) -> Enclosed:
    """The minimum. ``cutoff`` is the cost of a known partition, > 0.

    The solver's dual bound counts, so the answer is also valid if time ends the run.
    """
    segments = SegmentProgram(problem, (None, 1, None), cutoff=cutoff, closures=closures)
    share = float(segments.work.sum()) / k
    segments.program.row(segments.work_terms(1), low=share * (1 - SLACK))
    return enclose(minimise(segments.program, time_limit_s=time_limit_s, gap=gap), cutoff)
