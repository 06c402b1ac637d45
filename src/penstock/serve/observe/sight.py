"""What happened between two pages of ``/metrics``: rates, attainment, quantiles, utilisation. No I/O.

A quantile is interpolated within its bucket, as PromQL's ``histogram_quantile`` does it. A counter that fell belongs to
a server that was started in between; then it counts from zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.record import Outcome
from penstock.serve.observe.catalogue import (
    BUSY,
    CLIENT_OUTCOMES,
    CPU,
    IN_FLIGHT,
    LATENCY,
    MEMORY,
    PLANNED_RATE,
    POOL_UP,
    POOL_WORKERS,
    QUEUE,
    REQUESTS,
    SLO,
)
from penstock.serve.observe.scrape import Page

_NOT_JUDGED = frozenset(CLIENT_OUTCOMES.split("|"))


@dataclass(frozen=True)
class ModelSight:
    """One model. ``attainment`` is None without a request to judge; quantiles are None without a result."""

    name: str
    rate_rps: float
    planned_rps: float
    attainment: float | None
    slo_s: float
    p50_s: float | None
    p99_s: float | None
    queue_p99_s: float | None
    misses_rps: Mapping[str, float]


@dataclass(frozen=True)
class PoolSight:
    """One pool. ``utilisation``: the share of the time of its planned workers in which they ran batches."""

    pool: str
    device_class: str
    share: str
    workers: int
    up: int
    utilisation: float


@dataclass(frozen=True)
class ProcessSight:
    """One process: ``cores`` in use, and the most memory that it had."""

    name: str
    cores: float
    memory_bytes: int


@dataclass(frozen=True)
class Sight:
    """All of a server over ``seconds``."""

    seconds: float
    in_flight: int
    models: tuple[ModelSight, ...]
    pools: tuple[PoolSight, ...]
    processes: tuple[ProcessSight, ...]


def sight(before: Page, after: Page, seconds: float) -> Sight:
    """What happened in the ``seconds`` between two pages of one server."""
    models = [name for (name,) in after.by(SLO.name, "model")]
    return Sight(
        seconds=seconds,
        in_flight=round(after.total(IN_FLIGHT.name)),
        models=tuple(_model(name, before, after, seconds) for name in models),
        pools=tuple(_pools(before, after, seconds)),
        processes=tuple(_processes(before, after, seconds)),
    )


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """The ``q`` quantile of cumulative ``buckets`` (bound to count, the last bound infinite); None without a value.

    Beyond the last finite bound nothing is known; that bound is given then.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    below, low = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= q * total and buckets[bound] > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (q * total - below) / (buckets[bound] - below)
        below, low = buckets[bound], bound
    return low


def _model(name: str, before: Page, after: Page, seconds: float) -> ModelSight:
    counts = {
        outcome: _grown(before.total(REQUESTS.name, model=name, outcome=outcome), count)
        for (outcome,), count in after.by(REQUESTS.name, "outcome", model=name).items()
    }
    judged = sum(count for outcome, count in counts.items() if outcome not in _NOT_JUDGED)
    met = counts.get(Outcome.MET.text, 0.0)
    latency, queue = (_grown_buckets(before, after, family.name, name) for family in (LATENCY, QUEUE))
    return ModelSight(
        name=name,
        rate_rps=sum(counts.values()) / seconds,
        planned_rps=after.total(PLANNED_RATE.name, model=name),
        attainment=met / judged if judged else None,
        slo_s=after.total(SLO.name, model=name),
        p50_s=quantile(0.5, latency),
        p99_s=quantile(0.99, latency),
        queue_p99_s=quantile(0.99, queue),
        misses_rps={
            outcome: count / seconds
            for outcome, count in counts.items()
            if count and outcome != Outcome.MET.text
        },
    )


def _pools(before: Page, after: Page, seconds: float) -> list[PoolSight]:
    keys = ("pool", "device_class", "share")
    busy_before, busy, up = (
        before.by(BUSY.name, *keys),
        after.by(BUSY.name, *keys),
        after.by(POOL_UP.name, *keys),
    )
    found = []
    for key, workers in after.by(POOL_WORKERS.name, *keys).items():
        pool, device_class, share = key
        used = _grown(busy_before.get(key, 0.0), busy.get(key, 0.0)) / seconds / workers if workers else 0.0
        found.append(PoolSight(pool, device_class, share, round(workers), round(up.get(key, 0.0)), used))
    return found


def _processes(before: Page, after: Page, seconds: float) -> list[ProcessSight]:
    used, memory = before.by(CPU.name, "process"), after.by(MEMORY.name, "process")
    return [
        ProcessSight(key[0], _grown(used.get(key, 0.0), cpu_s) / seconds, round(memory.get(key, 0.0)))
        for key, cpu_s in after.by(CPU.name, "process").items()
    ]


def _grown_buckets(before: Page, after: Page, name: str, model: str) -> dict[float, float]:
    old, new = (page.buckets(name, model=model) for page in (before, after))
    if old.get(math.inf, 0.0) > new.get(math.inf, 0.0):
        return new
    return {bound: count - old.get(bound, 0.0) for bound, count in new.items()}


def _grown(before: float, after: float) -> float:
    return after - before if after >= before else after
