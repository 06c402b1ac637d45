"""A record as Chrome trace events, which Perfetto and ``chrome://tracing`` open.

Each worker is a thread of its device class, and each batch a slice. Each request is an asynchronous slice of its model,
from arrival to answer. Format: "Trace Event Format", Google, 2016.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from penstock.plan.documents.plan import Plan
from penstock.record import Outcome, Record

MOST_REQUESTS = 100_000
"""The most requests that are written: viewers become slow beyond. The batches are all there."""

_REQUESTS = 1
"""The process number of the requests; device classes come after it."""


def trace_events(record: Record, plan: Plan | None) -> str:
    """The JSON text. Times count from the record's origin."""
    events = [*_names(record, plan), *_batches(record, plan), *_requests(record)]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, separators=(",", ":"))


def _process_of(plan: Plan | None) -> tuple[list[str], dict[int, int]]:
    """The names of the device classes, and by worker the index of its class."""
    if plan is None:
        return ["workers"], {}
    classes = list(dict.fromkeys(worker.device_class for worker in plan.placement))
    return classes, {worker.worker: classes.index(worker.device_class) for worker in plan.placement}


def _names(record: Record, plan: Plan | None) -> Iterator[dict[str, Any]]:
    classes, of_worker = _process_of(plan)
    yield {"ph": "M", "name": "process_name", "pid": _REQUESTS, "args": {"name": "requests"}}
    for number, name in enumerate(classes):
        yield {"ph": "M", "name": "process_name", "pid": _REQUESTS + 1 + number, "args": {"name": name}}
    placed = {worker.worker: worker for worker in plan.placement} if plan is not None else {}
    for worker in sorted({int(w) for w in record.batches.worker}):
        own = placed.get(worker)
        text = f"worker {worker}" + (f" on device {own.device}, host {own.host}" if own is not None else "")
        yield {
            "ph": "M",
            "name": "thread_name",
            "pid": _REQUESTS + 1 + of_worker.get(worker, 0),
            "tid": worker,
            "args": {"name": text},
        }


def _batches(record: Record, plan: Plan | None) -> Iterator[dict[str, Any]]:
    of_worker = _process_of(plan)[1]
    b = record.batches
    for row in range(len(b.batch)):
        worker = int(b.worker[row])
        yield {
            "ph": "X",
            "name": f"{record.models[int(b.model[row])]} s{int(b.stage[row])} x{int(b.size[row])}",
            "pid": _REQUESTS + 1 + of_worker.get(worker, 0),
            "tid": worker,
            "ts": int(b.start_us[row]),
            "dur": int(b.end_us[row] - b.start_us[row]),
            "args": {
                "batch": int(b.batch[row]),
                "pipeline": int(b.pipeline[row]),
                "queued_us": int(b.start_us[row] - b.queued_us[row]),
                "transfer_us": int(b.transfer_us[row]),
            },
        }


def _requests(record: Record) -> Iterator[dict[str, Any]]:
    r = record.requests
    for row in range(min(len(r.request), MOST_REQUESTS)):
        stop_us = int(r.finish_us[row]) if r.finish_us[row] >= 0 else int(r.deadline_us[row])
        common = {
            "cat": "request",
            "id": row,
            "name": record.models[int(r.model[row])],
            "pid": _REQUESTS,
            "tid": int(r.model[row]),
        }
        outcome = Outcome(int(r.outcome[row])).text
        yield {**common, "ph": "b", "ts": int(r.arrival_us[row]), "args": {"outcome": outcome}}
        yield {**common, "ph": "e", "ts": stop_us}
