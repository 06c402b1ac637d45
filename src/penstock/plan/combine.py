"""Combining: a plan of whole workers for many models, each model's workers one column.

Rounding a solution pool by pool wastes most where a model has few devices. Here a column is a model's whole cover
(:mod:`penstock.plan.covers`) of its part of a throughput ``z``; one is taken for each model, and the fullest class's
load is least:

    minimise load  subject to  sum of devices[k, c] <= load * count[c],  one column k of every model.

Columns come from the prices of its relaxation (Dantzig-Wolfe again, a model a block: Lübbecke and Desrosiers,
"Selected Topics in Column Generation", Operations Research 53(6), 2005, section 3), and from prices near those, since
whole choices need more columns than split ones. A load of at most 1 is a plan; ``z`` is found by halving. What it
finds is a plan, not a bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.plan.covers import Configurations, cover, promising
from penstock.plan.highs import Effort, Rows, run, values
from penstock.plan.planner import SearchLimits
from penstock.plan.program import Fleet, Prices
from penstock.plan.templates import F64, I64, Templates
from penstock.plan.value import devices_used, value_of

HALVINGS = 9
ROUNDS = 40

DRAWS = 80
"""Further columns of each model, at prices drawn around the last ones."""

CLASS_SPREAD, CONFIGURATION_SPREAD = 0.2, 0.01
"""Standard deviations of the logarithms of those prices: of a class, and of each configuration on top."""

CHOICE_SECONDS = 2.0
"""For one choice of whole columns, of which a few hundred are given."""


@dataclass
class _Columns:
    """The covers of one model: times each configuration is taken, and devices (classes,)."""

    counts: list[I64] = field(default_factory=list)
    devices: list[F64] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    def add(self, counts: I64, devices: F64) -> bool:
        """Whether the column is new."""
        key = devices.round(6).tobytes()
        is_new = key not in self.seen
        if is_new:
            self.seen.add(key)
            self.counts.append(counts)
            self.devices.append(devices)
        return is_new


def combine(templates: Templates, workers: I64, fleet: Fleet, prices: Prices, limits: SearchLimits) -> I64:
    """Workers (templates, stages) for a higher throughput than the known ``workers``, or those.

    Stops within ``limits`` of the bound of ``prices``.
    """
    deadline = time.perf_counter() + limits.time_limit_s
    models = [
        promising(templates, m, 1.05 * prices.bound * weight, prices, fleet)
        for m, weight in enumerate(fleet.weight.tolist())
    ]
    low, high = value_of(templates, workers, fleet), prices.bound
    for tries in range(HALVINGS):
        if (prices.bound - low) <= limits.gap * low or time.perf_counter() > deadline:
            break
        # First what would be enough; it often is there, or nearly.
        asked = (low + high) / 2 if tries else prices.bound / (1.0 + 0.9 * limits.gap)
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
    """Workers (templates, stages) that serve ``throughput``; None where none were found."""
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
        if not price(asked) or time.perf_counter() > deadline:
            break
        if not all(own.counts for own in columns):
            return None
        load, dual, _ = _least_load(columns, fleet, None)
        # Halfway to the latest prices, which swing while columns are few.
        asked = (asked / (asked @ fleet.count) + dual / (dual @ fleet.count)) / 2
    if load > 1.0:
        return None
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        price(asked * np.exp(rng.normal(0.0, CLASS_SPREAD, len(asked))), rng)
    load, _, chosen = _least_load(columns, fleet, min(CHOICE_SECONDS, deadline - time.perf_counter()))
    if not load <= 1.0 + 1e-9:
        return None
    workers = np.zeros_like(templates.share)
    for m, k in enumerate(chosen):
        workers += _workers(templates, models[m], columns[m].counts[k])
    return workers if (devices_used(templates, workers, fleet) <= fleet.count).all() else None


def _devices(templates: Templates, configurations: Configurations, counts: I64, fleet: Fleet) -> F64:
    """Devices that a cover takes (classes,): the sum of shares, or whole ones where models share none."""
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
    """The least load, the worth of a device (classes,), and the column of each model, whole within ``whole_s``."""
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
    highs = run(rows, None if whole_s is None else Effort(1e-4, max(whole_s, 0.01)))
    value = values(highs, len(rows.cost))
    dual = np.zeros(len(fleet.count))
    dual[used] = np.abs(np.array(highs.getSolution().row_dual)[len(columns) :])
    picked = [
        int(np.argmax(value[start : start + len(own.devices)]))
        for start, own in zip(first, columns, strict=True)
    ]
    return (float(value[load]) if value.any() else np.inf), dual, picked
