"""The exact search over templates: which templates, and how many workers at each stage.

1. Drop the templates that the integer rule of :mod:`penstock.plan.templates.dominance` drops. No plan is lost.
2. Solve the linear relaxation over the rest. It gives a bound on every plan, and prices.
3. Solve the integer program. If there are few templates, it covers all; otherwise, those of least loss. If it
   covers all and closes the gap, its plan is the answer.
4. Otherwise keep what a plan better than the known one may use (:mod:`penstock.plan.exact.reduced_cost`), and solve
   the program over it (:mod:`penstock.plan.exact.final_program`): over configurations if they can be listed,
   otherwise over templates.

The bound covers the full template set. The proof: a plan better than the known one can be rewritten, with the same
devices and at least the same rate, so that it uses only templates that remain after step 1. Without its idle workers
it consists of configurations. Each of them loses at most the bound of step 2 minus the value of the known plan. So
the plan is a solution of step 4, and ``max(known value, bound of step 4)`` limits every plan. (Step 4 leaves out
plans that are better by less than half the gap. Its bound is raised by the same amount.) The bound of step 2 limits
every plan too, and so does the bound of step 3 if it covers all templates. The least bound is reported. Each is a
solver's bound, raised by the solver's slack (:mod:`penstock.solver`). The proof holds for any number of stages,
classes, shares and models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.plan.exact.final_program import refine
from penstock.plan.exact.objective import trimmed, value_gap, value_of
from penstock.plan.exact.reduced_cost import least_loss
from penstock.plan.exact.worker_program import relax, solve, units_of
from penstock.plan.highs import Effort
from penstock.plan.interfaces import SearchLimits
from penstock.plan.templates.dominance import fractional_undominated, integer_undominated
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates
from penstock.solver import NO_GAP, SLACK

DIRECT_TEMPLATES = 500
"""If there are no more templates than this, the first program covers all."""

SEED_TEMPLATES = 25
"""Templates per model in the first program if it does not cover all."""

FIRST_SHARE = 0.5
"""Share of the time limit that the first program may take."""

SOLVER_SHARE = 0.9
"""Share of the gap asked of the solver; the rest is for its tolerance."""


@dataclass(frozen=True)
class SearchOutcome:
    """Workers (templates, stages) of the plan found over ``templates``, and a limit on every plan's value.

    ``rows``: the indices of these templates among those searched. ``value``: that of the plan, minus infinity if none
    was found.
    """

    templates: Templates
    rows: NDArray[np.intp]
    workers: I64
    value: float
    bound: float
    prices: Prices
    stats: dict[str, float | int | str]
    least_telling: float = 0.0
    """The solver's slack may have raised a bound of 0 up to this value."""

    @property
    def found(self) -> bool:
        """Whether there is a plan that serves every model and meets every demand."""
        return math.isfinite(self.value)

    @property
    def excludes_all(self) -> bool:
        """Whether the bound proves that there is no plan, within the solver's tolerances."""
        return self.bound == -math.inf or (self.bound <= self.least_telling and self.prices.bound > 0.0)


def search(templates: Templates, fleet: Fleet, limits: SearchLimits) -> SearchOutcome:
    """The best plan over ``templates``. Every model must have at least one template."""
    deadline = solving_seconds() + limits.time_limit_s
    survivors = integer_undominated(templates)
    kept = templates.take(survivors)
    prices = relax(kept.take(fractional_undominated(kept)), fleet)
    if prices.bound == -math.inf:
        return SearchOutcome(kept, survivors, np.zeros_like(kept.share), -math.inf, prices.bound, prices, {})
    loss = least_loss(kept, fleet, prices)
    rows = _first_rows(kept, loss, len(fleet.weight))
    covers_all = len(rows) == len(kept)
    near = SOLVER_SHARE * limits.gap
    first = solve(kept.take(rows), fleet, Effort(near, FIRST_SHARE * limits.time_limit_s))
    workers = np.zeros(kept.share.shape, dtype=np.int64)
    workers[rows] = first.workers
    workers = trimmed(kept, workers)
    known = value_of(kept, workers, fleet)
    bound = min(prices.bound, first.bound) if covers_all else prices.bound
    stats: dict[str, float | int | str] = {
        "templates_seen": templates.seen,
        "templates_feasible": len(templates),
        "templates_undominated": len(kept),
        "templates_kept": len(rows),
        "relaxation": prices.bound,
        "milp_rounds": 1,
        "nodes": first.nodes,
        "first_seconds": first.seconds,
    }
    if value_gap(known, bound) > max(limits.gap, NO_GAP):
        rest = Effort(near, deadline - solving_seconds())
        last, size = refine(workers, kept, fleet, prices, loss, rest)
        workers, known = last.workers, value_of(kept, last.workers, fleet)
        bound = min(bound, max(known, last.bound))
        stats |= {**size, "milp_rounds": 2, "nodes": first.nodes + last.nodes}
    least_telling = 3.0 * SLACK * max(prices.bound, units_of(kept, fleet).value)
    return SearchOutcome(kept, survivors, workers, known, max(bound, known), prices, stats, least_telling)


def _first_rows(templates: Templates, loss: F64, models: int) -> I64:
    """All templates, or those of least loss of every model."""
    if len(templates) <= DIRECT_TEMPLATES:
        return np.arange(len(templates))
    rows = [
        own[np.argsort(loss[own], kind="stable")[:SEED_TEMPLATES]]
        for own in (np.flatnonzero(templates.model == m) for m in range(models))
    ]
    return np.sort(np.concatenate(rows))
