"""The value of workers: the rate of every pipeline, the devices used, and the value of the plan."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.exact.packing import fewest_devices
from penstock.plan.exact.worker_program import group_key
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import Templates, whole_workers
from penstock.result import relative_gap

DEMAND_TOLERANCE = 1e-6
"""A demand counts as met if the rate is below it by at most this part, the solver's tolerance."""

TINY = 1e-300
"""A model counts as served if its rate is above this."""


def rates_of(templates: Templates, workers: I64) -> F64:
    """The rate of every template's pipeline: (templates,). It is the rate of its slowest stage.

    It is 0 if a stage has fewer workers than pieces.
    """
    pool = np.where(
        templates.share > 0, workers * np.where(templates.share > 0, templates.worker_rps, 0), np.inf
    )
    least: F64 = pool.min(axis=1)
    return np.where((workers >= needed_workers(templates, 0.0)).all(axis=1), least, 0.0)


def needed_workers(templates: Templates, rate_rps: F64 | float) -> F64:
    """The fewest whole workers of each stage, 0 if there is none, that serve ``rate_rps``: (templates, stages).

    ``rate_rps`` is one rate, or (templates, 1). There is a worker for each piece, however low the rate is.
    """
    need = whole_workers(rate_rps, templates.worker_rps)
    return np.where(templates.share > 0, np.maximum(need, templates.pieces), 0.0)


def trimmed(templates: Templates, workers: I64) -> I64:
    """``workers`` without those that do not raise their pipeline's rate."""
    rates = rates_of(templates, workers)[:, None]
    with np.errstate(invalid="ignore"):
        need = needed_workers(templates, rates)
    return np.where(rates > 0, need, 0).astype(np.int64)


def model_rates(templates: Templates, workers: I64, models: int) -> F64:
    """The rate at which ``workers`` (templates, stages) serve each model: (models,)."""
    rate = np.zeros(models)
    np.add.at(rate, templates.model, rates_of(templates, workers))
    return rate


def devices_used(templates: Templates, workers: I64, fleet: Fleet) -> I64:
    """Whole devices of each class that ``workers`` (templates, stages) take: (classes,)."""
    on_share: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for t, s in np.argwhere(workers > 0).tolist():
        on_share[group_key(templates, t, s, fleet)][int(templates.share[t, s])] += int(workers[t, s])
    used = np.zeros(len(fleet.count), dtype=np.int64)
    for (device_class, *_), held in on_share.items():
        used[device_class] += fewest_devices(held)
    return used


def value_of(templates: Templates, workers: I64, fleet: Fleet) -> float:
    """The value of ``workers`` (templates, stages). The program maximises it.

    Throughput: least rate / weight over the models. Cost: the negated cost of the devices used. Minus infinity
    if a model is not served or a demand is not met, because that is not a plan.
    """
    least = float((model_rates(templates, workers, len(fleet.weight)) / fleet.weight).min())
    if least < (1 - DEMAND_TOLERANCE if fleet.hourly_cost is not None else TINY):
        return -math.inf
    if fleet.hourly_cost is None:
        return least
    return -float(devices_used(templates, workers, fleet) @ fleet.hourly_cost)


def value_gap(known: float, bound: float) -> float:
    """The relative gap of a ``known`` value. The value is minus infinity if no plan is known."""
    if bound <= known:
        return 0.0
    return math.inf if math.isinf(known) else relative_gap(known, bound)
