"""The search if templates are too many to list: relax over all, then plan with those near the best.

1. Solve the relaxation over all templates by column generation (:mod:`penstock.plan.large.column_generation`). It
   gives a bound on every plan.
2. Round its solution up to whole workers (:mod:`penstock.plan.large.rounding`). This is near the bound if the fleet
   is large.
3. If it is not near enough, and there are few devices for each model: compute a bound that knows whole workers, over
   all templates (:mod:`penstock.plan.large.whole_worker_bound`).
4. If it is not near enough, and the aim is throughput: choose whole workers model by model
   (:mod:`penstock.plan.large.model_columns`).
5. If that is not near enough: solve the integer program over the templates that lose least at the relaxation's
   prices, starting from the known plan.

The bound is that of step 1 or 3. So it is valid although steps 4 and 5 leave templates out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from penstock.arrays import I64
from penstock.clock import solving_seconds
from penstock.plan.exact.listed_search import SOLVER_SHARE, SearchOutcome
from penstock.plan.exact.objective import trimmed, value_gap, value_of
from penstock.plan.exact.worker_program import solve
from penstock.plan.highs import Effort
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.column_generation import Relaxation, relax_spaces
from penstock.plan.large.model_columns import combine
from penstock.plan.large.rounding import round_up
from penstock.plan.large.whole_covers import whole_covers
from penstock.plan.large.whole_worker_bound import WholeBound, whole_worker_bound
from penstock.plan.templates.dominance import integer_undominated
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.pricing import near_best
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import Templates, join

MOST_LISTED = 4_000_000
"""The most templates, feasible or not, of all models together, that are listed. If there are more, prices choose."""

RELAXATION_SHARE = 0.5
"""Share of the time limit that the relaxation may take."""

RELAXATION_GAP = 0.01
"""Gap of the relaxation, as a part of the plan's gap."""

FEW_DEVICES = 150
"""Up to so many devices for each model, whole workers cost enough to be counted in the bound."""

BOUND_SHARE = 0.5
"""Share of the remaining time that the bound of whole workers may take."""

MOST_LOSS = 1.0
"""If no plan is known, templates are looked for up to twice the cost of the best one. Otherwise those are enough that
lose less per request than the known plan. On large fleets, more templates gave worse plans in the same time."""

MOST_COMBINED = 500
"""Templates of each model that are combined."""

COMBINING_SHARE = 0.9
"""Share of the remaining time that combining may take."""

MOST_NEAR = 30
"""Templates of each model in the integer program. More would slow it down too much."""


def search_spaces(spaces: Sequence[TemplateSpace], fleet: Fleet, limits: SearchLimits) -> SearchOutcome:
    """The best plan found over all templates of ``spaces``, one space per model. Each has a feasible template."""
    deadline = solving_seconds() + limits.time_limit_s
    relaxation = relax_spaces(
        spaces, fleet, gap=RELAXATION_GAP * limits.gap, time_limit_s=RELAXATION_SHARE * limits.time_limit_s
    )
    templates, workers = relaxation.columns, np.zeros_like(relaxation.columns.share)
    bound, nodes = relaxation.prices.bound, 0
    if math.isfinite(bound):
        templates, workers = _rounded(relaxation, fleet)
        known = value_of(templates, workers, fleet)
        whole = WholeBound(bound, relaxation.prices.device)
        if value_gap(known, bound) > limits.gap and fleet.count.sum() <= FEW_DEVICES * len(spaces):
            until = solving_seconds() + BOUND_SHARE * (deadline - solving_seconds())
            whole = whole_worker_bound(spaces, fleet, relaxation.prices, known, until)
            bound = whole.bound
        if fleet.hourly_cost is None and value_gap(known, bound) > limits.gap:
            rest = SearchLimits(limits.gap, COMBINING_SHARE * (deadline - solving_seconds()))
            if whole.finders:
                found = whole_covers(whole.finders, fleet, whole.device_price, known, rest, bound)
                templates, workers = found or (templates, workers)
            else:
                templates, workers = _with_near(spaces, relaxation, fleet, templates, workers, MOST_COMBINED)
                workers = combine(templates, workers, fleet, relaxation.prices, rest, bound)
            served = np.flatnonzero(workers.any(axis=1))
            templates, workers = templates.take(served), workers[served]
        if value_gap(value_of(templates, workers, fleet), bound) > limits.gap:
            templates, workers = _with_near(spaces, relaxation, fleet, templates, workers, MOST_NEAR)
            # Without a template of some model near the best, the program's value is that of the known plan at most.
            if len(np.unique(templates.model)) == len(spaces):
                effort = Effort(SOLVER_SHARE * limits.gap, deadline - solving_seconds())
                answer = solve(templates, fleet, effort, start=workers)
                better, nodes = trimmed(templates, answer.workers), answer.nodes
                if value_of(templates, better, fleet) > value_of(templates, workers, fleet):
                    workers = better
    value = value_of(templates, workers, fleet)
    stats: dict[str, float | int | str] = {
        "templates_seen": sum(space.size for space in spaces),
        "templates_priced": len(relaxation.columns),
        "templates_kept": len(templates),
        "relaxation": relaxation.prices.bound,
        "pricing_rounds": relaxation.rounds,
        "nodes": nodes,
    }
    rows = np.arange(len(templates))
    return SearchOutcome(templates, rows, workers, value, max(bound, value), relaxation.prices, stats)


def _rounded(relaxation: Relaxation, fleet: Fleet) -> tuple[Templates, I64]:
    """The columns in use, and the relaxation's solution in whole workers."""
    workers = round_up(relaxation.columns, relaxation.rate_rps, fleet)
    used = relaxation.rate_rps > 0.0
    return relaxation.columns.take(used), trimmed(relaxation.columns, workers)[used]


def _with_near(
    spaces: Sequence[TemplateSpace],
    relaxation: Relaxation,
    fleet: Fleet,
    templates: Templates,
    workers: I64,
    most: int,
) -> tuple[Templates, I64]:
    """``templates`` and at most ``most`` near the best of every model, and ``workers`` over all of these."""
    loss = min(value_gap(value_of(templates, workers, fleet), relaxation.prices.bound), MOST_LOSS)
    near = join([near_best(space, relaxation.prices, loss, most)[0] for space in spaces])
    near = near.take(integer_undominated(near))
    every = join([templates, near])
    start = np.zeros_like(every.share)
    start[: len(templates), : workers.shape[1]] = workers
    return every, start
