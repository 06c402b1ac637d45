"""From a known plan to a better one, or to the proof that there is none: the last step of the search."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from penstock.plan.configuration_program import solve_configurations
from penstock.plan.highs import Effort
from penstock.plan.losses import Configurations, configurations
from penstock.plan.program import Answer, Fleet, Prices, solve
from penstock.plan.templates import F64, I64, Templates
from penstock.plan.value import trimmed, value_of

MOST_CONFIGURATIONS = 20_000
"""More are not listed: the program over templates is the smaller."""

FEW_CONFIGURATIONS = 2_500
"""Beyond these, those of least loss are tried first: a better known plan leaves fewer."""

LEFT_OUT = 0.5
"""Part of the gap by which a plan must be better to be looked for."""

FIRST_SHARE = 0.25
"""Share of the time that the first try may take."""


def refine(
    workers: I64, templates: Templates, fleet: Fleet, prices: Prices, loss: F64, effort: Effort
) -> tuple[Answer, dict[str, int]]:
    """The best of the known ``workers`` (templates, stages) and whatever may beat them.

    ``loss`` (templates,) from :func:`penstock.plan.losses.least_loss`. The answer's bound limits every plan
    that beats the known one. Also returned: how many templates and configurations were kept.
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
    # What was left out is no better than this.
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
    """The program over ``listed``, after a try with those of least loss where they are many."""
    deadline = time.perf_counter() + effort.time_limit_s
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
        replace(effort, time_limit_s=deadline - time.perf_counter()),
        start=known,
    )
    best = _better(templates, known, answer.workers, fleet)
    return Answer(best, max(answer.bound, enough), answer.seconds, nodes + answer.nodes)


def _better(templates: Templates, known: I64, found: I64, fleet: Fleet) -> I64:
    """The better of two plans, without idle workers."""
    found = trimmed(templates, found)
    improves = value_of(templates, found, fleet) > value_of(templates, known, fleet)
    return found if improves else known


def _near_enough(known: float, effort: Effort) -> float:
    """The value up to which a better plan need not be looked for."""
    return known if math.isinf(known) else known + LEFT_OUT * effort.gap * abs(known)


def _most_loss(value: float, prices: Prices) -> float:
    """What a plan better than ``value`` may lose, with room for rounding errors."""
    return prices.bound - value + 1e-9 * abs(prices.bound)
