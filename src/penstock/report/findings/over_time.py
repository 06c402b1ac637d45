"""How a run went over time, in equal steps: outcomes, requests that wait, busy devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.documents.plan import Plan
from penstock.record import Outcome, Record
from penstock.report.findings.batch_rows import BatchRows

MOST_STEPS = 120
"""The most steps of a series: a picture shows no more."""


@dataclass(frozen=True)
class OverTime:
    """Series over steps of equal length.

    - ``edges_us`` (steps + 1,)
    - ``outcomes``: by outcome, the requests that arrived in a step, (steps,)
    - ``waiting`` (steps + 1,): requests that had arrived and were not sent to a worker, at each edge. A dropped
      request waits until its deadline at the latest.
    - ``busy``: by device class, the busy share of its workers' devices in a step, (steps,); empty without a plan
    """

    edges_us: F64
    outcomes: Mapping[Outcome, I64]
    waiting: I64
    busy: Mapping[str, F64]

    @property
    def attainment(self) -> F64:
        """The share of a step's arrivals that met their SLO, (steps,); NaN for a step without arrivals.

        Requests whose client left do not count.
        """
        counts = [count for outcome, count in self.outcomes.items() if outcome is not Outcome.CANCELLED]
        arrived = np.sum(counts, axis=0)
        share: F64 = np.divide(
            self.outcomes[Outcome.MET],
            arrived,
            out=np.full(len(arrived), np.nan),
            where=arrived > 0,
        )
        return share


def over_time(record: Record, plan: Plan | None) -> OverTime:
    """The series from the first arrival to the last. At least a quarter of a second a step if there are many."""
    requests = record.requests
    start_us = int(requests.arrival_us.min(initial=2**62)) if requests.arrival_us.size else 0
    stop_us = int(requests.arrival_us.max(initial=0)) + 1
    steps = int(np.clip((stop_us - start_us) / 250_000, 1, MOST_STEPS))
    edges_us = np.linspace(start_us, stop_us, steps + 1)
    outcomes = {
        outcome: np.histogram(requests.arrival_us[requests.outcome == outcome], edges_us)[0].astype(np.int64)
        for outcome in Outcome
    }
    return OverTime(edges_us, outcomes, _waiting(record, edges_us), _busy(record, plan, edges_us))


def _waiting(record: Record, edges_us: F64) -> I64:
    requests, batches = record.requests, record.batches
    row = BatchRows(batches).first(requests.batch)
    sent_us = np.where(
        row >= 0, batches.queued_us[row] if batches.queued_us.size else 0, requests.deadline_us
    )
    arrived = np.searchsorted(np.sort(requests.arrival_us), edges_us, side="right")
    left = np.searchsorted(np.sort(sent_us), edges_us, side="right")
    waiting: I64 = np.maximum(arrived - left, 0).astype(np.int64)
    return waiting


def _busy(record: Record, plan: Plan | None, edges_us: F64) -> dict[str, F64]:
    # Jobs that take turns on a device overlap in time, so their times do not add up to its use.
    if plan is None or not plan.placement or plan.scheduled is not None:
        return {}
    placed = sorted(plan.placement, key=lambda worker: worker.worker)
    worker_class = np.array([worker.device_class for worker in placed])
    part = np.array([1.0 / worker.share for worker in placed])
    batches = record.batches
    found = {}
    for name, spec in plan.scenario.cluster.device_classes.items():
        if not spec.available:
            continue
        mine = (
            np.flatnonzero(worker_class[batches.worker] == name) if len(batches.worker) else np.zeros(0, int)
        )
        weight = part[batches.worker[mine]]
        work_us = _integral(batches.start_us[mine], weight, edges_us)
        work_us -= _integral(batches.end_us[mine], weight, edges_us)
        found[name] = np.diff(work_us) / np.diff(edges_us) / spec.available
    return found


def _integral(from_us: I64, weight: F64, edges_us: F64) -> F64:
    """The integral to each edge of the summed weights of all intervals that began at ``from_us``."""
    order = np.argsort(from_us, kind="stable")
    at, weights = from_us[order].astype(np.float64), weight[order]
    total = np.concatenate([[0.0], np.cumsum(weights)])
    moment = np.concatenate([[0.0], np.cumsum(weights * at)])
    count = np.searchsorted(at, edges_us, side="right")
    integral: F64 = edges_us * total[count] - moment[count]
    return integral
