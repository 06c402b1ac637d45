"""The search where templates are too many to list: relax over all, then plan with those near the best.

1. The relaxation over all templates by column generation (:mod:`penstock.plan.columns`): a bound on every plan.
2. Its solution rounded up to whole workers (:mod:`penstock.plan.rounding`): close where the fleet is large.
3. Where that is not close enough, the integer program over the templates that lose least at the relaxation's
   prices, from the rounded plan on.

The bound is that of 1, whatever 3 leaves out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from penstock.plan.columns import Relaxation, relax_spaces
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

MOST_LOSS = 0.1
"""Templates that cost a tenth more than the best are of no use to a plan within a few percent."""

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
        if value_gap(value_of(templates, workers, fleet), bound) > limits.gap:
            templates, workers = _with_near(spaces, relaxation, templates, workers)
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
    spaces: Sequence[TemplateSpace], relaxation: Relaxation, templates: Templates, workers: I64
) -> tuple[Templates, I64]:
    """``templates`` with those near the best of every model, and ``workers`` over them."""
    near = join([near_best(space, relaxation.prices, MOST_LOSS, MOST_NEAR)[0] for space in spaces])
    near = near.take(integer_undominated(near))
    every = join([templates, near])
    start = np.zeros_like(every.share)
    start[: len(templates), : workers.shape[1]] = workers
    return every, start
