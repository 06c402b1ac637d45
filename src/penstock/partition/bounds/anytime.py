"""All bounds in turn, cheapest first, until the bound meets the best partition known or time ends.

1. simple, holding: milliseconds, whatever k is.
2. chains: merge what any better partition keeps together, then the dynamic program over ideals if they are few.
3. separation: raise a target by bisection while that merging leads to an operator that fits in no block.
4. programs: three superblocks for every index, the exact program, the bottleneck bound (see :mod:`.campaign`).

Every method gives a valid bound on its own; so does the largest, at any moment. All but the first look for proof that
nothing beats the partition that is known; where none is known, all operators in one block are such a partition.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from penstock.errors import BadInputError
from penstock.partition.bounds.campaign import run_programs
from penstock.partition.bounds.chains import chain_bound
from penstock.partition.bounds.holding import holding_bound
from penstock.partition.bounds.ledger import BoundResult, Ledger
from penstock.partition.bounds.probing import Merged, merge_for_target
from penstock.partition.bounds.simple import simple_bound
from penstock.partition.budget import Deadline
from penstock.partition.problem import PartitionProblem, block_costs, check_k
from penstock.partition.reduce import reduce_problem

_TARGETS = 12
"""Steps of the bisection: a gap of 50 % shrinks to 0.02 %."""

_SHARE = 0.3
"""Share of the time left that one step before the programs may take."""


def lower_bounds(
    problem: PartitionProblem,
    k: int,
    *,
    best_known: float,
    time_limit_s: float,
    until_gap: float = 0.0,
    workers: int = 2,
) -> BoundResult:
    """The best lower bound on the bottleneck of any partition of ``problem`` into at most ``k`` blocks.

    ``best_known`` is the bottleneck of a partition that exists, ``inf`` if none is known. Stops within ``until_gap``
    (relative) of it, or soon after ``time_limit_s``. ``workers`` processes solve programs side by side.
    They are spawned, so with more than one a script must call this under ``if __name__ == "__main__"``.
    Where memory counts, only the chains count it; the others leave it out, which keeps them valid.

    Raises :class:`BadInputError` for k outside 1..operators and for a negative ``best_known``.
    """
    check_k(problem, k)
    if not best_known >= 0:
        raise BadInputError(f"best_known is {best_known}, but a cost is >= 0. Pass inf if none is known.")
    cutoff = best_known if isfinite(best_known) else _one_block(problem)
    ledger = Ledger(best_known, until_gap, Deadline(time_limit_s))
    ledger.note("simple", simple_bound(problem, k), ledger.deadline.elapsed_s())
    if cutoff > 0:
        _prove(reduce_problem(problem).problem, k, cutoff, ledger, workers)
    return ledger.result()


def _one_block(problem: PartitionProblem) -> float:
    """What all operators in one block cost, memory left out: a partition like any other."""
    costs = block_costs(problem, np.zeros(problem.n_operators, np.int64), 1)
    return float((costs.work + costs.in_ + costs.out)[0])


def _prove(problem: PartitionProblem, k: int, cutoff: float, ledger: Ledger, workers: int) -> None:
    ledger.run("holding", lambda: holding_bound(problem, ledger.must_stop))
    small = Merged(problem, is_impossible=False)

    def chains() -> float:
        nonlocal small
        small = merge_for_target(problem, cutoff, ledger.deadline.part(_SHARE).is_over)
        return _settle(small, k, cutoff, ledger)

    ledger.run("chains", chains)
    _bisect(problem, k, cutoff, ledger)
    if not (ledger.must_stop() or small.is_impossible):
        run_programs(small.problem, k, cutoff, ledger, workers)


def _settle(small: Merged, k: int, target: float, ledger: Ledger) -> float:
    """``target`` where a merged problem proves it, the optimum where the chains find it, else 0."""
    if small.is_impossible:
        return target
    return chain_bound(small.problem, k, target, ledger.deadline.part(_SHARE).is_over)


def _bisect(problem: PartitionProblem, k: int, cutoff: float, ledger: Ledger) -> None:
    """Targets between the bound and the best known: merging, and ideals where few, may rule them out."""
    enough = ledger.deadline.part(_SHARE)
    high = cutoff
    for _ in range(_TARGETS):
        if ledger.must_stop() or enough.is_over():
            return
        before, target = ledger.bound, (ledger.bound + high) / 2
        ledger.run("separation", lambda target=target: _separate(problem, k, target, ledger))  # type: ignore[misc]
        if ledger.bound <= before:
            high = target


def _separate(problem: PartitionProblem, k: int, target: float, ledger: Ledger) -> float:
    small = merge_for_target(problem, target, ledger.deadline.part(_SHARE).is_over)
    return _settle(small, k, target, ledger)
