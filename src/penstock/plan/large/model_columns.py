"""Combining: a plan of whole workers for many models, in which each model's workers are one column.

Rounding a solution pool by pool wastes most if a model has few devices. Here a column is a model's whole cover
(:mod:`penstock.plan.large.knapsack_covers`) for its part of a throughput ``z``. One column is chosen for each model,
so that the load of the fullest class is least:

    minimise load  subject to  sum of devices[k, c] <= load * count[c],  one column k of every model.

The prices of its relaxation give the columns (Dantzig-Wolfe again, with one block per model: Lübbecke and Desrosiers,
"Selected Topics in Column Generation", Operations Research 53(6), 2005, section 3). Prices near them give more
columns, because whole choices need more columns than split ones. A load of at most 1 is a plan. Bisection finds
``z``. The result is a plan, not a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.plan.exact.objective import devices_used, value_of
from penstock.plan.highs import Effort, Rows, run, values
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.knapsack_covers import Configurations, cover, promising
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates

HALVINGS = 9
ROUNDS = 40

DRAWS = 80
"""How many further columns of each model are made, at random prices near the last prices."""

CLASS_SPREAD, CONFIGURATION_SPREAD = 0.2, 0.01
"""Standard deviations of the logarithms of those prices: for a class, and additionally for each configuration."""

CHOICE_SECONDS = 2.0
"""Time limit of one choice of whole columns, out of a few hundred."""


@dataclass
class _Columns:
    """The covers of one model: how often each configuration is used, and the devices (classes,)."""

    counts: list[I64] = field(default_factory=list)
    devices: list[F64] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    def add(self, counts: I64, devices: F64) -> bool:
        """Add the column, and return whether it is new."""
        key = devices.round(6).tobytes()
        is_new = key not in self.seen
        if is_new:
            self.seen.add(key)
            self.counts.append(counts)
            self.devices.append(devices)
        return is_new


def combine(
    templates: Templates, workers: I64, fleet: Fleet, prices: Prices, limits: SearchLimits, bound: float
) -> I64:
    """Workers (templates, stages) for a higher throughput than the known ``workers``, or ``workers`` if none is
    found.

    It stops within ``limits`` of ``bound``, which no plan exceeds.
    """
    deadline = solving_seconds() + limits.time_limit_s
    models = [
        promising(templates, m, 1.05 * prices.bound * weight, prices, fleet)
        for m, weight in enumerate(fleet.weight.tolist())
    ]
    low, high = value_of(templates, workers, fleet), bound
    for tries in range(HALVINGS):
        if (bound - low) <= limits.gap * low or solving_seconds() > deadline:
            break
        # First try a throughput that would be enough. Often it is possible, or nearly.
        asked = (low + high) / 2 if tries else bound / (1.0 + 0.9 * limits.gap)
        found = _plan_at(asked, templates, models, fleet, prices, deadline)
        if found is None or (value := value_of(templates, found, fleet)) <= low:
            high = asked
        else:
            low, workers = value, found
    return workers


def _plan_at(
    throughput: float,
    templates: Templates,
    models: Sequence[Configurations],
    fleet: Fleet,
    prices: Prices,
    deadline: float,
) -> I64 | None:
    """Workers (templates, stages) that serve ``throughput``. None if none were found."""
    columns = [_Columns() for _ in models]

    def price(device_price: F64, rng: np.random.Generator | None = None) -> bool:
        is_new = False
        for m, configurations in enumerate(models):
            n = len(configurations.rate_rps)
            favour = None if rng is None else np.exp(rng.normal(0.0, CONFIGURATION_SPREAD, n))
            counts = cover(configurations, throughput * float(fleet.weight[m]), device_price, favour)
            if counts is not None:
                devices = _devices(templates, configurations, counts, fleet)
                is_new |= columns[m].add(counts, devices)
        return is_new

    asked = prices.device
    load = np.inf
    for _ in range(ROUNDS):
        if not price(asked) or solving_seconds() > deadline:
            break
        if not all(own.counts for own in columns):
            return None
        load, dual, _ = _least_load(columns, fleet, None)
        # Take the mean with the latest prices, because these vary a lot as long as there are few columns.
        asked = (asked / (asked @ fleet.count) + dual / (dual @ fleet.count)) / 2
    if load > 1.0:
        return None
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        price(asked * np.exp(rng.normal(0.0, CLASS_SPREAD, len(asked))), rng)
    load, _, chosen = _least_load(columns, fleet, min(CHOICE_SECONDS, deadline - solving_seconds()))
    if not load <= 1.0 + 1e-9:
        return None
    workers = np.zeros_like(templates.share)
    for m, k in enumerate(chosen):
        workers += _workers(templates, models[m], columns[m].counts[k])
    return workers if (devices_used(templates, workers, fleet) <= fleet.count).all() else None


def _devices(templates: Templates, configurations: Configurations, counts: I64, fleet: Fleet) -> F64:
    """Devices that a cover uses (classes,): the sum of shares, or whole devices if models share none."""
    if fleet.share_devices:
        return np.asarray(counts @ configurations.devices)
    return devices_used(templates, _workers(templates, configurations, counts), fleet).astype(np.float64)


def _workers(templates: Templates, configurations: Configurations, counts: I64) -> I64:
    """The workers (templates, stages) of a cover."""
    workers = np.zeros_like(templates.share)
    np.add.at(workers, configurations.template, counts[:, None] * configurations.workers)
    return workers


def _least_load(
    columns: Sequence[_Columns], fleet: Fleet, whole_s: float | None
) -> tuple[float, F64, list[int]]:
    """The least load, the price of a device (classes,), and the column of each model; whole within ``whole_s``."""
    rows, used = Rows(), np.flatnonzero(fleet.count)
    load = rows.column(cost=-1.0)
    needs: list[list[tuple[int, float]]] = [[(load, -float(count))] for count in fleet.count]
    first: list[int] = []
    for own in columns:
        chosen = [rows.column(integer=whole_s is not None) for _ in own.devices]
        first.append(chosen[0])
        rows.row([(column, 1.0) for column in chosen], lower=1.0, upper=1.0)
        for column, devices in zip(chosen, own.devices, strict=True):
            for c in np.flatnonzero(devices).tolist():
                needs[c].append((column, float(devices[c])))
    for c in used.tolist():
        rows.row(needs[c], upper=0.0)
    solver = run(rows, None if whole_s is None else Effort(1e-4, max(whole_s, 0.01)))
    value = values(solver, len(rows.cost))
    dual = np.zeros(len(fleet.count))
    dual[used] = np.abs(solver.row_dual[len(columns) :])
    picked = [
        int(np.argmax(value[start : start + len(own.devices)]))
        for start, own in zip(first, columns, strict=True)
    ]
    return (float(value[load]) if value.any() else np.inf), dual, picked
