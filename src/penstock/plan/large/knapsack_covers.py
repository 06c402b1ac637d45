"""Covers: workers for a single model that serve a given rate at the least price.

A configuration is a template with whole workers (:mod:`penstock.plan.exact.reduced_cost`). The choice of
configurations that together serve a rate at the least price is a covering knapsack problem. Rates are counted in
:data:`GRID` parts of the requested rate. Each rate is rounded down, so that a cover serves at least what was
requested (Martello, Toth, "Knapsack Problems", 1990, section 2.6 for the recursion).

Only promising configurations are kept: in each band of rates, those with the least loss per request. A cover is good,
but it is not proven to be the best.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.plan.exact.objective import needed_workers
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates

GRID = 4000
"""With this many parts, a cover of a few configurations wastes less than a thousandth of the demand."""

BAND = 0.85
"""The rates of each band are this part of the rates of the next band."""

MOST_IN_BAND = 40

MOST_RATES = 400
"""The most rates tried for one stage of a template: its whole multiples, or some of them if there are more."""


@dataclass(frozen=True)
class Configurations:
    """Configurations of one model. ``template`` (n,): a row of all templates. ``workers`` (n, stages).
    ``rate_rps`` (n,). ``devices`` (n, classes): the sum of shares."""

    template: I64
    workers: I64
    rate_rps: F64
    devices: F64


def promising(
    templates: Templates, model: int, most_rps: float, prices: Prices, fleet: Fleet
) -> Configurations:
    """Configurations of ``model`` up to ``most_rps``: in each band, those with the least loss per request."""
    row, rate = _rates(templates, np.flatnonzero(templates.model == model), most_rps)
    workers = needed_workers(templates.take(row), rate[:, None]).astype(np.int64)
    part = workers / np.maximum(templates.share[row], 1)
    devices = np.stack(
        [
            np.where(templates.device_class[row] == device_class, part, 0.0).sum(axis=1)
            for device_class in range(len(fleet.count))
        ],
        axis=1,
    )
    price = devices @ prices.device / rate
    band = np.floor(np.log(rate / most_rps) / np.log(BAND)).astype(np.int64)
    # Sort by band, the cheapest first. The position within the band decides which are kept.
    order = np.lexsort((price, band))
    place = np.arange(len(order)) - np.searchsorted(band[order], band[order])
    kept = order[(place < MOST_IN_BAND) & (devices[order] <= fleet.count).all(axis=1)]
    return Configurations(row[kept], workers[kept], rate[kept], devices[kept])


def cover(
    configurations: Configurations, demand_rps: float, device_price: F64, favour: F64 | None = None
) -> I64 | None:
    """How often each configuration is used (n,) to serve ``demand_rps``. None if no configuration serves anything.

    ``favour`` (n,) multiplies the prices of configurations, in order to find other covers that are nearly as good.
    """
    size = np.floor(configurations.rate_rps / demand_rps * GRID + 1e-9).astype(np.int64)
    counts = np.zeros(len(size), dtype=np.int64)
    price = configurations.devices @ device_price
    if favour is not None:
        price = price * favour
    usable = _undominated(size, price)
    if not len(usable):
        return None
    last = _cheapest_last(size[usable], price[usable])
    left = GRID
    while left > 0:
        taken = usable[last[left]]
        counts[taken] += 1
        left -= int(size[taken])
    return counts


def _undominated(size: I64, price: F64) -> NDArray[np.intp]:
    """Rows with a rate above 0 for which no larger row is as cheap."""
    order = np.lexsort((price, -size))
    cheapest_larger = np.concatenate([[np.inf], np.minimum.accumulate(price[order])])[:-1]
    return order[(price[order] < cheapest_larger) & (size[order] > 0)]


def _rates(templates: Templates, rows: I64, most_rps: float) -> tuple[I64, F64]:
    """Whole multiples of every stage's worker rate, up to ``most_rps``: the rows of templates, and the rates."""
    row, rate = [np.zeros(0, np.int64)], [np.zeros(0)]
    for t in rows.tolist():
        for worker_rps in templates.worker_rps[t, : templates.stages[t]].tolist():
            most = int(most_rps / worker_rps)
            number = np.unique(np.linspace(1, most, min(most, MOST_RATES)).astype(np.int64))
            rate.append(number * worker_rps)
            row.append(np.full(len(number), t))
    return np.concatenate(row), np.concatenate(rate)


@compiled
def _cheapest_last(size: I64, price: F64) -> I64:
    """For every part of the grid, the configuration to use last (ascending): (GRID + 1,)."""
    least, last = np.full(GRID + 1, np.inf), np.zeros(GRID + 1, np.int64)
    least[0] = 0.0
    for part in range(1, GRID + 1):
        for k in range(len(size)):
            total = price[k] + least[max(part - size[k], 0)]
            if total < least[part]:
                least[part], last[part] = total, k
    return last
