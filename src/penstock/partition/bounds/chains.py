"""An exact proof over ideals, after merging what any better partition keeps together.

If the merged problem (see :mod:`.probing`) has few ideals, the dynamic program over them settles whether a
partition under the target exists, without a solver's tolerances (see :mod:`penstock.partition.ideals`).
"""

from __future__ import annotations

from penstock.partition.budget import Stop
from penstock.partition.ideals import best_chain, enumerate_ideals
from penstock.partition.problem import PartitionProblem, bottleneck
from penstock.partition.slicing import ROUNDING

MOST_IDEALS = 20_000
"""Enumerated in under a second; more would leave too many pairs."""


def chain_bound(problem: PartitionProblem, k: int, target: float, stop: Stop) -> float:
    """``target`` where no partition of ``problem`` is under it, else the optimum; 0 where the search did not end."""
    ideals = enumerate_ideals(problem, MOST_IDEALS)
    if ideals is None:
        return 0.0
    complete, block = best_chain(problem, ideals, k, target, stop)
    if not complete:
        return 0.0
    reached = target if block is None else bottleneck(problem, block, k)
    return reached * (1 - 2 * ROUNDING)
