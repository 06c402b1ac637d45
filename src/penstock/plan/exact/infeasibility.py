"""What a solver's claim that demands cannot be met is worth.

A solver says "infeasible" within its tolerances. A bound can be moved away from the optimum before it counts, but a
word cannot. So we ask for a bound instead. In the *elastic* program the plan serves only the part ``z <= 1`` of every
demand, and ``z`` is maximised. It always has a solution, ``z = 0``. If its bound, moved by the solver's slack
(:mod:`penstock.solver`), is below 1, then no plan meets the demands. If it finds ``z = 1``, the claim was wrong, and
its solution is one of the program. Otherwise nothing is proven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.plan.highs import Effort, Rows, run, values
from penstock.solver import SLACK, Solver


@dataclass(frozen=True)
class Solved:
    """``values`` (columns,): zeros if no solution was found. No solution has a value above ``bound``, which is minus
    infinity if it is proven that there is none, and infinity if nothing is proven."""

    values: F64
    bound: float
    nodes: int
    solver: Solver


def solve_demands(
    rows: Rows, demands: Sequence[int], effort: Effort | None = None, start: tuple[I64, I64] | None = None
) -> Solved:
    """Maximise over ``rows``, of which those in ``demands`` ask for at least something above 0.

    ``start``: columns and their values in a known solution. The check of a claim takes what is left of the time.
    """
    began, columns = solving_seconds(), len(rows.upper)
    solver = run(rows, effort, start)
    if not solver.claims_infeasible_or_unbounded:
        return Solved(values(solver, columns), solver.bound, solver.nodes, solver)
    left = None
    if effort is not None:
        # A finer gap than asked for: the question is on which side of 1 the bound is.
        left = Effort(SLACK, effort.time_limit_s - (solving_seconds() - began), patience=False)
    elastic = run(_elastic(rows, demands), left)
    found = values(elastic, columns + 1)
    if found[-1] < 1.0 - SLACK:
        found = np.zeros(columns + 1)
    bound = -math.inf if elastic.bound < 1.0 else math.inf
    return Solved(found[:-1], bound, solver.nodes + elastic.nodes, solver)


def _elastic(rows: Rows, demands: Sequence[int]) -> Rows:
    """The program in which ``demands`` are met in part: by the last column, which is maximised."""
    elastic = Rows(
        cost=[0.0] * len(rows.cost),
        upper=list(rows.upper),
        integer=list(rows.integer),
        row_lower=list(rows.row_lower),
        row_upper=list(rows.row_upper),
        entries=list(rows.entries),
    )
    part = elastic.column(cost=1.0, upper=1.0)
    for row in demands:
        elastic.entries[row] = [*rows.entries[row], (part, -rows.row_lower[row])]
        elastic.row_lower[row] = 0.0
    return elastic
