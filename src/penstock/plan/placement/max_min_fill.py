"""Filling: the other models get what the worst model cannot use. Of these, the worst model comes first.

The search maximises the least rate / weight, and does not care about the other models. Two steps improve them:

1. If a model's rate has no price in the relaxation, the model does not hold the least down (complementary slackness:
   a model with a price serves exactly its weight times the optimum). Models with a price keep their workers. The
   others are planned again over the remaining devices, and so on, level by level, as in max-min fairness (Bertsekas,
   Gallager, "Data Networks", 1992, section 6.5.2).
2. Rounding to whole workers leaves devices idle. The models take them one after the other, the worst first.

The first plan's least rate / weight never falls. Exact lexicographic optimality would need a proof at each
level over all plans of equal value. This is only one pass over the plan found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.plan.exact.listed_search import SearchOutcome, search
from penstock.plan.exact.objective import devices_used, model_rates, trimmed
from penstock.plan.interfaces import SearchLimits
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates

IS_PRICED = 1e-7
"""A model limits the objective if its price is more than this part of the objective's value."""

FILL_GAP = 1e-2
"""Few devices are left over: a hundredth of their rate is not worth a long search."""

FILL_SHARE = 0.1
"""Share of the time limit that each search here may take."""


def fill(outcome: SearchOutcome, fleet: Fleet, limits: SearchLimits) -> I64:
    """The workers (templates, stages) of ``outcome``, and more workers on the devices that they leave."""
    rest = SearchLimits(max(limits.gap, FILL_GAP), FILL_SHARE * limits.time_limit_s)
    workers = _raise_unpriced(outcome, fleet, rest)
    rates = model_rates(outcome.templates, workers, len(fleet.weight))
    for m in np.argsort(rates / fleet.weight, kind="stable").tolist():
        workers = workers + _on_spare(outcome.templates, workers, fleet, np.array([m]), rest).workers
    return trimmed(outcome.templates, workers)


@dataclass(frozen=True)
class _Found:
    """Workers (templates, stages) over all templates, and the prices at which they were found."""

    workers: I64
    prices: Prices | None


def _raise_unpriced(outcome: SearchOutcome, fleet: Fleet, limits: SearchLimits) -> I64:
    """Plan the models that do not hold the least down again, level by level."""
    templates, workers = outcome.templates, outcome.workers
    free, prices = np.arange(len(fleet.weight)), outcome.prices
    while True:
        free = free[prices.rate * fleet.weight[free] <= IS_PRICED]
        if not len(free):
            return workers
        kept = np.where(np.isin(templates.model, free)[:, None], 0, workers)
        found = _on_spare(templates, kept, fleet, free, limits)
        if found.prices is None or _least(templates, found.workers, fleet, free) < _least(
            templates, workers, fleet, free
        ):
            return workers
        workers, prices = kept + found.workers, found.prices


def _least(templates: Templates, workers: I64, fleet: Fleet, models: NDArray[np.intp]) -> float:
    rates = model_rates(templates, workers, len(fleet.weight))
    return float((rates / fleet.weight)[models].min())


def _on_spare(
    templates: Templates, workers: I64, fleet: Fleet, models: NDArray[np.intp], limits: SearchLimits
) -> _Found:
    """The best plan of ``models`` alone on the devices that ``workers`` leave idle."""
    spare = fleet.count - devices_used(templates, workers, fleet)
    none = np.zeros_like(workers)
    fits = (templates.device_class < 0) | (spare[templates.device_class] > 0)
    rows = np.flatnonzero(fits.all(axis=1) & np.isin(templates.model, models))
    if len(np.unique(templates.model[rows])) < len(models):
        return _Found(none, None)
    own = templates.take(rows)
    own = replace(own, model=np.searchsorted(models, own.model))
    outcome = search(own, replace(fleet, count=spare, weight=fleet.weight[models]), limits)
    none[rows[outcome.rows]] = outcome.workers
    return _Found(none, outcome.prices)
