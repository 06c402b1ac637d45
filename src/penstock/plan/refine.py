"""From a known plan to a better one, or to the proof that there is none: the last step of the search."""

from __future__ import annotations

import time

import numpy as np

from penstock.plan.assemble import objective_of, trimmed
from penstock.plan.configuration_program import solve_configurations
from penstock.plan.losses import Configurations, configurations
from penstock.plan.planner import SearchLimits
from penstock.plan.program import Answer, Fleet, Prices, solve
from penstock.plan.templates import F64, I64, Templates

MOST_CONFIGURATIONS = 20_000
"""More are not listed: the program over templates is the smaller."""

FEW_CONFIGURATIONS = 2_500
"""Beyond these, those of least loss are tried first: a better known plan leaves fewer."""

FIRST_SHARE = 0.25
"""Share of the time that the first try may take."""


def refine(
    workers: I64,
    templates: Templates,
    fleet: Fleet,
    prices: Prices,
    loss: F64,
    limits: SearchLimits,
    *,
    mix_shares: bool,
) -> tuple[Answer, dict[str, int]]:
    """The best of the known ``workers`` (templates, stages) and whatever may beat them.

    ``loss`` (templates,) from :func:`penstock.plan.losses.least_loss`. The answer's bound limits every plan
    that beats the known one. Also returned: how many templates and configurations were kept.
    """
    most_loss = _most_loss(objective_of(templates, workers, fleet), prices)
    rows = np.flatnonzero((loss <= most_loss) | workers.any(axis=1))
    kept, known = templates.take(rows), workers[rows]
    listed = configurations(kept, fleet, prices, most_loss, MOST_CONFIGURATIONS)
    if listed is None:
        answer = solve(
            kept,
            fleet,
            time_limit_s=limits.time_limit_s,
            gap=limits.gap,
            start=known,
            mix_shares=mix_shares,
        )
    else:
        answer = _over_configurations(known, kept, listed, fleet, prices, limits, mix_shares)
    best = np.zeros_like(workers)
    best[rows] = _better(kept, known, answer.workers, fleet)
    size = {"templates_kept": len(rows), "configurations": 0 if listed is None else len(listed)}
    return Answer(best, answer.bound, answer.seconds, answer.nodes), size


def _over_configurations(
    known: I64,
    templates: Templates,
    listed: Configurations,
    fleet: Fleet,
    prices: Prices,
    limits: SearchLimits,
    mix_shares: bool,
) -> Answer:
    """The program over ``listed``, after a try with those of least loss where they are many."""
    deadline = time.perf_counter() + limits.time_limit_s
    nodes = 0
    if len(listed) > FEW_CONFIGURATIONS:
        least = listed.take(np.argsort(listed.loss, kind="stable")[:FEW_CONFIGURATIONS])
        answer = solve_configurations(
            templates,
            least,
            fleet,
            prices,
            time_limit_s=FIRST_SHARE * limits.time_limit_s,
            gap=limits.gap,
            start=known,
            mix_shares=mix_shares,
        )
        nodes = answer.nodes
        known = _better(templates, known, answer.workers, fleet)
        listed = listed.take(listed.loss <= _most_loss(objective_of(templates, known, fleet), prices))
    answer = solve_configurations(
        templates,
        listed,
        fleet,
        prices,
        time_limit_s=deadline - time.perf_counter(),
        gap=limits.gap,
        start=known,
        mix_shares=mix_shares,
    )
    best = _better(templates, known, answer.workers, fleet)
    return Answer(best, answer.bound, answer.seconds, nodes + answer.nodes)


def _better(templates: Templates, known: I64, found: I64, fleet: Fleet) -> I64:
    """The better of two plans, without idle workers."""
    found = trimmed(templates, found)
    improves = objective_of(templates, found, fleet) > objective_of(templates, known, fleet)
    return found if improves else known


def _most_loss(known: float, prices: Prices) -> float:
    """What a plan better than ``known`` may lose, with room for rounding errors."""
    return prices.bound - known + 1e-9 * prices.bound
