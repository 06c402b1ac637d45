"""The last step of the search: find a plan better than the known one, or prove that there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.plan.exact.configuration_program import solve_configurations
from penstock.plan.exact.objective import trimmed, value_of
from penstock.plan.exact.reduced_cost import Configurations, configurations
from penstock.plan.exact.worker_program import Answer, solve
from penstock.plan.highs import Effort
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates

MOST_CONFIGURATIONS = 20_000
"""If there are more configurations, they are not listed: the program over templates is then smaller."""

FEW_CONFIGURATIONS = 2_500
"""If there are more, those of least loss are tried first: with a better known plan, fewer remain."""

LEFT_OUT = 0.5
"""A better plan is looked for only if it is better by at least this part of the gap."""

FIRST_SHARE = 0.25
"""Share of the time that the first try may take."""


def refine(
    workers: I64, templates: Templates, fleet: Fleet, prices: Prices, loss: F64, effort: Effort
) -> tuple[Answer, dict[str, int]]:
    """The best of the known ``workers`` (templates, stages) and all plans that may be better.

    ``loss`` (templates,) comes from :func:`penstock.plan.exact.reduced_cost.least_loss`. The answer's bound limits
    every plan that is better than the known one. Also returned: how many templates and configurations were kept.
    """
    enough = _near_enough(value_of(templates, workers, fleet), effort)
    most_loss = _most_loss(enough, prices)
    rows = np.flatnonzero((loss <= most_loss) | workers.any(axis=1))
    kept, known = templates.take(rows), workers[rows]
    listed = configurations(kept, fleet, prices, most_loss, MOST_CONFIGURATIONS)
    if listed is None:
        answer = solve(kept, fleet, effort, start=known)
    else:
        answer = _over_configurations(known, kept, listed, fleet, prices, effort)
    best = np.zeros_like(workers)
    best[rows] = _better(kept, known, answer.workers, fleet)
    size = {"templates_kept": len(rows), "configurations": 0 if listed is None else len(listed)}
    # The templates that were left out serve no plan better than this.
    bound = max(answer.bound, enough)
    return Answer(best, bound, answer.seconds, answer.nodes), size


def _over_configurations(
    known: I64,
    templates: Templates,
    listed: Configurations,
    fleet: Fleet,
    prices: Prices,
    effort: Effort,
) -> Answer:
    """The program over ``listed``. If they are many, those of least loss are tried first."""
    deadline = solving_seconds() + effort.time_limit_s
    nodes = 0
    enough = -math.inf
    if len(listed) > FEW_CONFIGURATIONS:
        least = listed.take(np.argsort(listed.loss, kind="stable")[:FEW_CONFIGURATIONS])
        answer = solve_configurations(
            templates,
            least,
            fleet,
            prices,
            replace(effort, time_limit_s=FIRST_SHARE * effort.time_limit_s),
            start=known,
        )
        nodes = answer.nodes
        known = _better(templates, known, answer.workers, fleet)
        enough = _near_enough(value_of(templates, known, fleet), effort)
        listed = listed.take(listed.loss <= _most_loss(enough, prices))
    answer = solve_configurations(
        templates,
        listed,
        fleet,
        prices,
        replace(effort, time_limit_s=deadline - solving_seconds()),
        start=known,
    )
    best = _better(templates, known, answer.workers, fleet)
    return Answer(best, max(answer.bound, enough), answer.seconds, nodes + answer.nodes)


def _better(templates: Templates, known: I64, found: I64, fleet: Fleet) -> I64:
    """The better one of two plans, without idle workers."""
    found = trimmed(templates, found)
    improves = value_of(templates, found, fleet) > value_of(templates, known, fleet)
    return found if improves else known


def _near_enough(known: float, effort: Effort) -> float:
    """The value up to which it is not worth looking for a better plan."""
    return known if math.isinf(known) else known + LEFT_OUT * effort.gap * abs(known)


def _most_loss(value: float, prices: Prices) -> float:
    """The loss that a plan better than ``value`` may have, with a tolerance for rounding errors."""
    return prices.bound - value + 1e-9 * abs(prices.bound)
