"""All bounds in turn, the cheapest first, until the bound meets the best known partition or time is over.

1. simple, holding: they take milliseconds for any k.
2. chains: merge what any better partition keeps together, then the dynamic program over ideals if they are few.
3. levels: paths of boundaries by the work before them, on the merged problem (see :mod:`.level_bound`).
4. separation: raise a target by bisection as long as that merging gives an operator that fits in no block.
5. programs: three superblocks for every index, the exact program, the bottleneck bound (see :mod:`.campaign`).

Every method gives a valid bound by itself. So the largest bound is valid at any time. All methods except the first
try to prove that no partition is better than the known one. If none is known, they use the one with all operators in
one block.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from penstock.errors import BadInputError
from penstock.partition.bounds.chains import chain_bound
from penstock.partition.bounds.holding import holding_bound
from penstock.partition.bounds.ledger import BoundResult, Ledger
from penstock.partition.bounds.levels.level_bound import Stages, level_bound
from penstock.partition.bounds.probing import Merged, merge_for_target
from penstock.partition.bounds.programs.bound_program import SLACK
from penstock.partition.bounds.programs.campaign import run_programs
from penstock.partition.bounds.simple import simple_bound
from penstock.partition.budget import Deadline
from penstock.partition.problem import PartitionProblem, block_costs, check_k
from penstock.partition.reduce import reduce_problem

_TARGETS = 12
"""Steps of the bisection. They reduce a gap of 50 % to 0.02 %."""

_SHARE = 0.3
"""Share of the remaining time that one step before the programs may take."""

_LEVELS_SHARE = 0.9
"""Share of the remaining time for the levels. On the reference graphs they prove more than all that follows."""


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

    ``best_known`` is the bottleneck of a partition that exists, ``inf`` if none is known. It stops within
    ``until_gap`` (relative) of it, or soon after ``time_limit_s``. ``workers`` processes solve programs at the same
    time. They are spawned, so with more than one a script must call this under ``if __name__ == "__main__"``.
    If memory counts, only the chains use it. The others ignore it, and their bounds stay valid.

    Raises :class:`BadInputError` for k outside 1..operators and for a negative ``best_known``.
    """
    check_k(problem, k)
    if not best_known >= 0:
        raise BadInputError(f"best_known is {best_known}, but a cost is >= 0. Pass inf if none is known.")
    cutoff = best_known if isfinite(best_known) else _one_block(problem)
    ledger = Ledger(best_known, until_gap, Deadline(time_limit_s))
    ledger.note("simple", simple_bound(problem, k), ledger.deadline.elapsed_s())
    if cutoff > 0:
        reduced = reduce_problem(problem)
        _prove(reduced.problem, k, cutoff, ledger, workers)
        ledger.priorities = tuple(each[reduced.member_of] for each in ledger.priorities)
    return ledger.result()


def _one_block(problem: PartitionProblem) -> float:
    """The cost of all operators in one block, without memory. It is a partition like any other."""
    costs = block_costs(problem, np.zeros(problem.n_operators, np.int64), 1)
    return float((costs.work + costs.in_ + costs.out)[0])


def _prove(problem: PartitionProblem, k: int, cutoff: float, ledger: Ledger, workers: int) -> None:
    ledger.run("holding", lambda: holding_bound(problem, ledger.must_stop))
    small = Merged(problem, np.arange(problem.n_operators), is_impossible=False)

    def chains() -> float:
        nonlocal small
        small = merge_for_target(problem, cutoff, ledger.deadline.part(_SHARE).is_over)
        return _settle(small, k, cutoff, ledger)

    ledger.run("chains", chains)
    if not small.is_impossible:
        ledger.run("levels", lambda: _levels(small, k, cutoff, ledger))
    _bisect(problem, k, cutoff, ledger)
    if not (ledger.must_stop() or small.is_impossible):
        run_programs(small.problem, k, cutoff, ledger, workers)


def _levels(small: Merged, k: int, cutoff: float, ledger: Ledger) -> float:
    """No partition of the merged problem is under it, and none that the merged problem lacks is under the cutoff."""
    proof = level_bound(
        small.problem,
        Stages.alike(small.problem, k),
        cutoff=cutoff,
        goal=min(ledger.goal, cutoff * (1 - 2 * SLACK)),
        deadline=ledger.deadline.part(_LEVELS_SHARE),
        known=ledger.bound,
    )
    ledger.priorities = tuple(each[small.member_of] for each in proof.priorities)
    return min(proof.bound, cutoff)


def _settle(small: Merged, k: int, target: float, ledger: Ledger) -> float:
    """``target`` if a merged problem proves it, the optimum if the chains find it, otherwise 0."""
    if small.is_impossible:
        return target
    return chain_bound(small.problem, k, target, ledger.deadline.part(_SHARE).is_over)


def _bisect(problem: PartitionProblem, k: int, cutoff: float, ledger: Ledger) -> None:
    """Targets between the bound and the best known. Merging, and ideals if there are few, may exclude them."""
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
