"""The exact search over templates: which, and how many workers at each stage.

1. Drop what the integer rule of :mod:`penstock.plan.dominance` drops: no plan is lost.
2. Solve the linear relaxation over the rest: a bound on every plan, and prices.
3. Solve the integer program over all templates if they are few, else over those of least loss. Where it
   covers all and closes the gap, that is the answer.
4. Else keep what a plan better than the known one may hold, by :mod:`penstock.plan.losses`, and solve the
   program over it (:mod:`penstock.plan.refine`): over configurations where they can be listed, over
   templates where not.

The bound covers the full template set. A plan better than the known one can be rewritten, at the same
devices and no less rate, to hold only templates that survive 1; trimmed of idle workers it consists of
configurations, each of which loses at most what lies between the bound of 2 and the known plan; so it is
a solution of 4, and ``max(known value, bound of 4)`` limits every plan. (Plans better by less than half the gap are
left out of 4, and its bound is raised by as much.) So do the bound of 2, and that
of 3 where it covers all templates; the least is reported. The solver's own tolerance is 1e-6 of the
objective. Nothing is assumed of how many stages, classes, shares or models there are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.plan.dominance import fractional_undominated, integer_undominated
from penstock.plan.highs import Effort
from penstock.plan.losses import least_loss
from penstock.plan.planner import SearchLimits
from penstock.plan.program import Fleet, Prices, relax, solve
from penstock.plan.refine import refine
from penstock.plan.templates import F64, I64, Templates
from penstock.plan.value import trimmed, value_gap, value_of

DIRECT_TEMPLATES = 500
"""Up to so many templates the first program covers all."""

SEED_TEMPLATES = 25
"""Templates a model in the first program where it does not."""

FIRST_SHARE = 0.5
"""Share of the time limit that the first program may take."""

SOLVER_SHARE = 0.9
"""Share of the gap asked of the solver; the rest is for its tolerance."""


@dataclass(frozen=True)
class SearchOutcome:
    """Workers (templates, stages) of the plan found over ``templates``, and a limit on every plan's value.

    ``rows``: which templates these are of those searched. ``value``: the plan's, minus infinity where none
    was found.
    """

    templates: Templates
    rows: NDArray[np.intp]
    workers: I64
    value: float
    bound: float
    prices: Prices
    stats: dict[str, float | int | str]

    @property
    def found(self) -> bool:
        """Whether there is a plan that serves every model, and every demand."""
        return math.isfinite(self.value)

    @property
    def excludes_all(self) -> bool:
        """Whether the bound proves that there is none: the solver's tolerance is 1e-6 of the relaxation."""
        return math.isinf(self.bound) or (self.bound <= 2e-6 * self.prices.bound and self.prices.bound > 0.0)


def search(templates: Templates, fleet: Fleet, limits: SearchLimits) -> SearchOutcome:
    """The best plan over ``templates``, of which every model must have one."""
    deadline = time.perf_counter() + limits.time_limit_s
    survivors = integer_undominated(templates)
    kept = templates.take(survivors)
    prices = relax(kept.take(fractional_undominated(kept)), fleet)
    if math.isinf(prices.bound):
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
    if value_gap(known, bound) > limits.gap:
        rest = Effort(near, deadline - time.perf_counter())
        last, size = refine(workers, kept, fleet, prices, loss, rest)
        workers, known = last.workers, value_of(kept, last.workers, fleet)
        bound = min(bound, max(known, last.bound))
        stats |= {**size, "milp_rounds": 2, "nodes": first.nodes + last.nodes}
    return SearchOutcome(kept, survivors, workers, known, max(bound, known), prices, stats)


def _first_rows(templates: Templates, loss: F64, models: int) -> I64:
    """All templates, or those of least loss of every model."""
    if len(templates) <= DIRECT_TEMPLATES:
        return np.arange(len(templates))
    rows = [
        own[np.argsort(loss[own], kind="stable")[:SEED_TEMPLATES]]
        for own in (np.flatnonzero(templates.model == m) for m in range(models))
    ]
    return np.sort(np.concatenate(rows))
