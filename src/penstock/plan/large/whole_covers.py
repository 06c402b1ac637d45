"""A plan of whole workers for many models: one cover for each, so that all fit the fleet.

For each model, many covers are made that cost little more than its cheapest one
(:mod:`penstock.plan.large.near_covers`), at the prices of the bound that knows whole workers. For a throughput ``z``,
one cover of each model is chosen, so that the devices fit: two models exchange their covers for the best pair, given
all others, until nothing is missing. Bisection finds ``z``. The result is a plan, not a bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.plan.exact.objective import devices_used, value_of
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.cheapest_covers import CoverFinder
from penstock.plan.large.in_threads import in_threads
from penstock.plan.large.near_covers import NearCovers, near_covers
from penstock.plan.large.whole_worker_kernels import exchange_pairs
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import Templates, join

HALVINGS = 9

LEVELS, LOWEST = 12, 0.85
"""Throughputs for which covers are made. The lowest is this part of the aim, if the known plan is not better."""

SEEDS, EXCHANGES = 3, 600
"""How often the exchange starts anew, and how many pairs it tries."""

LEAST_PRICE, TOLERANCE = 1e-3, 1e-6
"""Of a device, as a part of the dearest; how much of one may be missing by the rounding of sums."""

AIM = 0.9
"""The first throughput that is tried is enough by this part of the gap."""


def whole_covers(
    finders: Sequence[CoverFinder],
    fleet: Fleet,
    device_price: F64,
    known: float,
    limits: SearchLimits,
    bound: float,
) -> tuple[Templates, I64] | None:
    """Templates and workers (templates, stages) of a higher throughput than ``known``. None if none is found.

    It stops within ``limits`` of ``bound``, which no plan exceeds.
    """
    deadline = solving_seconds() + limits.time_limit_s
    aim = bound / (1.0 + AIM * limits.gap)
    low, high, found = max(known, 0.0), bound, None
    levels = np.linspace(max(low, LOWEST * aim), aim, LEVELS)
    pools = in_threads(
        lambda m: near_covers(finders[m], fleet, device_price, (levels * fleet.weight[m]).tolist(), m),
        range(len(finders)),
    )
    for tries in range(HALVINGS):
        if (bound - low) <= limits.gap * low or solving_seconds() > deadline:
            break
        asked = (low + high) / 2 if tries else aim
        rates = (asked * fleet.weight).tolist()
        covers = [one.serving(rate) for one, rate in zip(pools, rates, strict=True)]
        plan = _fitting(finders, covers, fleet, device_price)
        value = -np.inf if plan is None else value_of(*plan, fleet)
        if value > low:
            low, found = value, plan
        else:
            high = asked
    return found


def _fitting(
    finders: Sequence[CoverFinder], covers: Sequence[NearCovers], fleet: Fleet, device_price: F64
) -> tuple[Templates, I64] | None:
    """One of the ``covers`` of each model, so that all fit the fleet; None if none are found."""
    if not all(len(one.devices) for one in covers):
        return None
    first = np.cumsum([0, *(len(one.devices) for one in covers)])
    use = np.concatenate([one.devices for one in covers])
    price = np.maximum(device_price / device_price.max(), LEAST_PRICE)
    for seed in range(SEEDS):
        chosen, missing = exchange_pairs(
            use, first, fleet.count.astype(float), price, first[:-1].copy(), EXCHANGES, seed
        )
        if missing > LEAST_PRICE * TOLERANCE:
            continue
        plan = _joined(finders, covers, chosen - first[:-1])
        if (devices_used(*plan, fleet) <= fleet.count).all():
            return plan
    return None


def _joined(
    finders: Sequence[CoverFinder], covers: Sequence[NearCovers], chosen: I64
) -> tuple[Templates, I64]:
    parts, numbers = [], []
    for finder, own, cover in zip(finders, covers, chosen.tolist(), strict=True):
        workers = finder.workers(own.pipelines(cover))
        rows = np.flatnonzero(workers.any(axis=1))
        parts.append(finder.templates.take(rows))
        numbers.append(workers[rows])
    templates = join(parts)
    longest = templates.share.shape[1]
    return templates, np.concatenate(
        [np.pad(each, ((0, 0), (0, longest - each.shape[1]))) for each in numbers]
    )
