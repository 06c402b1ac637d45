"""The search where templates are too many to list: relax over all, then plan with those near the best.

1. The relaxation over all templates by column generation (:mod:`penstock.plan.columns`): a bound on every plan.
2. Its solution rounded up to whole workers (:mod:`penstock.plan.rounding`): close where the fleet is large.
3. Where that is not close enough, for throughput: whole workers model by model (:mod:`penstock.plan.combine`).
4. Where that is not, the integer program over the templates that lose least at the relaxation's
   prices, from the known plan on.

The bound is that of 1, whatever 3 and 4 leave out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from penstock.plan.columns import Relaxation, relax_spaces
from penstock.plan.combine import combine
from penstock.plan.dominance import integer_undominated
from penstock.plan.highs import Effort
from penstock.plan.planner import SearchLimits
from penstock.plan.pricing import near_best
from penstock.plan.program import Fleet, solve
from penstock.plan.rounding import round_up
from penstock.plan.search import SOLVER_SHARE, SearchOutcome
from penstock.plan.template_space import TemplateSpace
from penstock.plan.templates import I64, Templates, join
from penstock.plan.value import trimmed, value_gap, value_of

MOST_LISTED = 4_000_000
"""Templates, feasible or not, of all models together: more are priced, not listed."""

RELAXATION_SHARE = 0.5
"""Share of the time limit that the relaxation may take."""

RELAXATION_GAP = 0.01
"""Gap of the relaxation, as a share of the plan's."""

MOST_LOSS = 1.0
"""Where no plan is known, templates are looked for up to twice the best one's cost. Else those that lose less a
request than the known plan does are enough: on large fleets more of them found worse plans in the same time."""

MOST_COMBINED = 500
"""Templates of each model that are combined."""

COMBINING_SHARE = 0.9
"""Share of the time left that combining may take."""

MOST_NEAR = 30
"""Templates of each model in the integer program: more slow it down before they help."""


def search_spaces(spaces: Sequence[TemplateSpace], fleet: Fleet, limits: SearchLimits) -> SearchOutcome:
    """The best plan found over all templates of ``spaces``, one a model, each with a feasible template."""
    deadline = time.perf_counter() + limits.time_limit_s
    relaxation = relax_spaces(
        spaces, fleet, gap=RELAXATION_GAP * limits.gap, time_limit_s=RELAXATION_SHARE * limits.time_limit_s
    )
    templates, workers = relaxation.columns, np.zeros_like(relaxation.columns.share)
    bound, nodes = relaxation.prices.bound, 0
    if math.isfinite(bound):
        templates, workers = _rounded(relaxation, fleet)
        if fleet.hourly_cost is None and value_gap(value_of(templates, workers, fleet), bound) > limits.gap:
            templates, workers = _with_near(spaces, relaxation, fleet, templates, workers, MOST_COMBINED)
            rest = SearchLimits(limits.gap, COMBINING_SHARE * (deadline - time.perf_counter()))
            workers = combine(templates, workers, fleet, relaxation.prices, rest)
            served = np.flatnonzero(workers.any(axis=1))
            templates, workers = templates.take(served), workers[served]
        if value_gap(value_of(templates, workers, fleet), bound) > limits.gap:
            templates, workers = _with_near(spaces, relaxation, fleet, templates, workers, MOST_NEAR)
            effort = Effort(SOLVER_SHARE * limits.gap, deadline - time.perf_counter())
            answer = solve(templates, fleet, effort, start=workers)
            found, nodes = trimmed(templates, answer.workers), answer.nodes
            if value_of(templates, found, fleet) > value_of(templates, workers, fleet):
                workers = found
    value = value_of(templates, workers, fleet)
    stats: dict[str, float | int | str] = {
        "templates_seen": sum(space.size for space in spaces),
        "templates_priced": len(relaxation.columns),
        "templates_kept": len(templates),
        "relaxation": bound,
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
    """``templates`` with at most ``most`` near the best of every model, and ``workers`` over them."""
    loss = min(value_gap(value_of(templates, workers, fleet), relaxation.prices.bound), MOST_LOSS)
    near = join([near_best(space, relaxation.prices, loss, most)[0] for space in spaces])
    near = near.take(integer_undominated(near))
    every = join([templates, near])
    start = np.zeros_like(every.share)
    start[: len(templates), : workers.shape[1]] = workers
    return every, start
