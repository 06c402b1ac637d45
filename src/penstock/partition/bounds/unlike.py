"""Lower bounds for stages on different devices: no split over these stages has a faster slowest stage.

1. *Fluid.* Let class c have s_c stages, and let w_c(v) be the work of operator v on it. Take any y >= 0 for which the
   sum of s_c y_c is 1. If the slowest stage takes t, the stages of class c work at most s_c t together, and every
   operator is on some class. So the sum over v of the least y_c w_c(v) is at most the sum over c of y_c s_c t, which is
   t. The best y comes from a linear program, but every y is a proof: the sum is computed again from it.
2. *Heaviest.* With the least work of each operator over the classes, each block costs at least what it costs there.
   So the bounds on one operator hold (:mod:`.simple`, :mod:`.holding`).
3. *Levels.* Paths of boundaries in which a step also chooses the class (:mod:`.levels.level_bound`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import PenstockError
from penstock.partition.bounds.holding import holding_bound
from penstock.partition.bounds.ledger import BoundResult, Ledger
from penstock.partition.bounds.levels.level_bound import Stages, level_bound
from penstock.partition.bounds.programs.bound_program import SLACK, Program, minimise
from penstock.partition.bounds.simple import heaviest_operator
from penstock.partition.budget import Deadline
from penstock.partition.problem import PartitionProblem
from penstock.partition.reduce import reduce_problem
from penstock.solver import NO_GAP

_FLUID_S = 10.0
"""The most time for the linear program of the fluid bound."""

_ROUNDING = 1e-12
"""Relative: what a sum of thousands of doubles may be wrong by."""


@dataclass(frozen=True)
class UnlikeStages:
    """``works`` (classes, n), ``counts`` (classes,): stages of each class, ``states``: see :class:`Stages`."""

    works: F64
    counts: I64
    states: I64


def unlike_bound(
    problem: PartitionProblem,
    stages: UnlikeStages,
    *,
    best_known: float,
    time_limit_s: float,
    until_gap: float = 0.0,
) -> BoundResult:
    """The best lower bound on the slowest of ``stages``, in the unit of ``problem``, whose own work is not used.

    ``best_known`` is the bottleneck of a split that exists. It stops within ``until_gap`` (relative) of it, or soon
    after ``time_limit_s``. Raises :class:`PenstockError`, an internal fault, if a bound exceeds it.
    """
    ledger = Ledger(best_known, until_gap, Deadline(time_limit_s))
    least = replace(problem, work=stages.works.min(axis=0))
    ledger.note("fluid", fluid_bound(stages), ledger.deadline.elapsed_s())
    ledger.note("heaviest", heaviest_operator(least), 0.0)
    small, works = _reduced(problem, stages.works)
    if best_known > 0:
        ledger.run("holding", lambda: holding_bound(replace(small, work=works.min(axis=0)), ledger.must_stop))
        ledger.run("levels", lambda: _levels(small, Stages(works, stages.states), ledger))
    return ledger.result()


def fluid_bound(stages: UnlikeStages) -> float:
    """The bound if work could be divided at will and nothing had to be moved."""
    price = _prices(stages)
    total = float((price[:, None] * stages.works).min(axis=0).sum())
    return total / float(price @ stages.counts) * (1 - _ROUNDING)


def _prices(stages: UnlikeStages) -> F64:
    """Good y >= 0, not all 0, (classes,). Equal ones if the solver finds none."""
    n_classes, n = stages.works.shape
    equal = np.ones(n_classes)
    scale = float(stages.works.max())
    if n_classes == 1 or scale <= 0:
        return equal
    program = Program()
    price = program.columns(n_classes, upper=1.0 / np.maximum(stages.counts, 1))
    # The solver minimises, so the share of an operator has cost -1. Shares are in parts of the largest work.
    share = program.columns(n, upper=1.0, cost=-1.0)
    for device in range(n_classes):
        rows = program.n_rows + np.arange(n)
        program.rows([(share, 1.0)], high=0.0)
        program.entries.append((rows, np.full(n, price[device]), -stages.works[device] / scale))
    program.row([(price, stages.counts.astype(np.float64))], low=1.0, high=1.0)
    solution = minimise(program, time_limit_s=_FLUID_S, relaxed=True).solution
    if solution is None:
        return equal
    found = np.maximum(solution[price], 0.0)
    return found if found @ stages.counts > 0 else equal


def _reduced(problem: PartitionProblem, works: F64) -> tuple[PartitionProblem, F64]:
    """Operators without work on any class are merged (:mod:`penstock.partition.reduce`), and so are their works."""
    reduced = reduce_problem(replace(problem, work=works.sum(axis=0)))
    n = reduced.problem.n_operators
    merged = np.stack([np.bincount(reduced.member_of, work, n) for work in works]).astype(np.float64)
    return reduced.problem, merged


def _levels(problem: PartitionProblem, stages: Stages, ledger: Ledger) -> float:
    cutoff = ledger.best_known
    bound = level_bound(
        problem,
        stages,
        cutoff=cutoff,
        goal=min(ledger.goal, cutoff * (1 - 2 * SLACK)),
        deadline=ledger.deadline,
        known=ledger.bound,
    ).bound
    if bound > cutoff * (1 + NO_GAP):
        raise PenstockError(
            f"{problem.name}: the bound {bound} by levels exceeds a split that reaches {cutoff}: one of them is wrong. "
            f"Report this."
        )
    return bound
