"""An exact proof over ideals, after merging what any better partition keeps together.

If the merged problem (see :mod:`.probing`) has few ideals, the dynamic program over them decides whether there is a
partition under the target. It uses no solver with tolerances (see :mod:`penstock.partition.search.ideals`).
"""

from __future__ import annotations

from penstock.partition.budget import Stop
from penstock.partition.problem import PartitionProblem, bottleneck
from penstock.partition.search.ideals import best_chain, enumerate_ideals
from penstock.partition.search.slicing import ROUNDING

MOST_IDEALS = 20_000
"""So many are enumerated in less than a second. More would give too many pairs."""


def chain_bound(problem: PartitionProblem, k: int, target: float, stop: Stop) -> float:
    """``target`` if no partition of ``problem`` is under it, otherwise the optimum. 0 if the search did not end."""
    ideals = enumerate_ideals(problem, MOST_IDEALS)
    if ideals is None:
        return 0.0
    complete, block = best_chain(problem, ideals, k, target, stop)
    if not complete:
        return 0.0
    reached = target if block is None else bottleneck(problem, block, k)
    return reached * (1 - 2 * ROUNDING)
