"""Where the time of a request goes, part by part, against its SLO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import I64
from penstock.record import Outcome, Record
from penstock.report.findings.batch_rows import BatchRows
from penstock.report.findings.counted import counted_rows


@dataclass(frozen=True)
class TimePart:
    """A part of the time of a request. ``kind``: gather, wait, transfer, inference, return or slack."""

    kind: str
    stage: int
    mean_us: float
    p99_us: float

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return self.kind if self.stage < 0 else f"{self.kind} {self.stage}"


@dataclass(frozen=True)
class PathTime:
    """The parts of one pipeline of a model. They add up to the mean time from arrival to deadline.

    ``requests``: the answered ones, over which the means are taken.
    """

    model: str
    pipeline: int
    requests: int
    slo_us: float
    parts: tuple[TimePart, ...]


def path_times(record: Record) -> list[PathTime]:
    """The parts for every pipeline that answered a request.

    - gather: from a request's arrival to the last arrival of its batch.
    - wait: until its batch is sent off (stage 0), and in the queue of each worker.
    - transfer: on the network before a stage. inference: the worker's time.
    - return: from the end of the last stage to the answer. slack: what is left of the SLO; below 0 if late.
    """
    requests, rows = record.requests, BatchRows(record.batches)
    answered = counted_rows(record) & np.isin(requests.outcome, (Outcome.MET, Outcome.LATE))
    answered &= rows.first(requests.batch) >= 0
    found = []
    for index, name in enumerate(record.models):
        own = answered & (requests.model == index)
        for pipeline in np.unique(requests.pipeline[own]):
            chosen = np.flatnonzero(own & (requests.pipeline == pipeline))
            found.append(_path(record, rows, name, int(pipeline), chosen))
    return found


def _path(record: Record, rows: BatchRows, name: str, pipeline: int, chosen: I64) -> PathTime:
    requests, batches = record.requests, record.batches
    arrival_us, batch = requests.arrival_us[chosen], requests.batch[chosen]
    spans: list[tuple[str, int, I64]] = []
    first = rows.first(batch)
    full_us = np.minimum(_last_arrival(batch, arrival_us), batches.queued_us[first])
    spans.append(("gather", -1, full_us - arrival_us))
    spans.append(("wait", 0, batches.queued_us[first] - full_us))
    end_us = batches.queued_us[first]
    for stage in range(int(batches.stage[rows.last(batch)].max()) + 1):
        at = rows.stage(batch, stage)
        there = at >= 0
        queued, start, end = (
            np.where(there, column[at], end_us)
            for column in (batches.queued_us, batches.start_us, batches.end_us)
        )
        if stage:
            spans.append(("transfer", stage, queued - end_us))
        spans.append(("queue", stage, start - queued))
        spans.append(("inference", stage, end - start))
        end_us = end
    finish_us = requests.finish_us[chosen]
    spans.append(("return", -1, finish_us - end_us))
    spans.append(("slack", -1, requests.deadline_us[chosen] - finish_us))
    parts = tuple(
        TimePart(kind, stage, float(span.mean()), float(np.quantile(span, 0.99)))
        for kind, stage, span in spans
        if kind != "return" or span.any()
    )
    slo_us = float((requests.deadline_us[chosen] - arrival_us).mean())
    return PathTime(name, pipeline, len(chosen), slo_us, parts)


def _last_arrival(batch: I64, arrival_us: I64) -> I64:
    """The last arrival of each request's batch, (n,)."""
    _, inverse = np.unique(batch, return_inverse=True)
    latest = np.full(int(inverse.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(latest, inverse, arrival_us)
    return latest[inverse]
