"""Every metric of the server: its name, kind, labels, unit, buckets and meaning. The reference page is made from this.

Names follow the conventions of Prometheus: base units (seconds, ratio, bytes), ``_total`` for counters. Inside, all
values are integers (microseconds, millionths of a ratio); divided by ``divisor`` they have the unit of the name. The
buckets of a histogram are fixed, so that those of several servers can be added up. A histogram has no negative values,
because the sum of a histogram must not fall: what can have both signs is two histograms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from penstock.record import Outcome

MILLION = 1_000_000

LATENCY_US = (
    500,
    *(round(step * decade) for decade in (1e3, 1e4, 1e5, 1e6) for step in (1, 2.5, 5, 7.5)),
    10_000_000,
)
"""Four steps a decade from 1 ms to 10 s, as is usual, and half a millisecond."""
SHORT_US = tuple(round(step * decade) for decade in (1e1, 1e2, 1e3, 1e4, 1e5) for step in (1, 2.5, 5))
"""For hops and errors of predictions: three steps a decade from 10 us to 0.5 s."""
TENTHS = tuple(tenth * 100_000 for tenth in range(1, 11))


class Ending(Enum):
    """How a request ended that was never queued."""

    REFUSED = "refused"
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNKNOWN_MODEL = "unknown-model"
    UNAUTHORIZED = "unauthorized"
    TIMED_OUT = "timed-out"


OUTCOMES = (*(outcome.text for outcome in Outcome), *(ending.value for ending in Ending))
"""The values of the label ``outcome``: each request has exactly one."""

CLIENT_OUTCOMES = "|".join(
    (Outcome.CANCELLED.text, *(ending.value for ending in Ending if ending is not Ending.REFUSED))
)
"""Requests that no server could have answered in time, as a regular expression: an attainment leaves them out."""

CLIENT_GONE = 499
"""In place of a status: the client went away before it had an answer."""

_BY_STATUS = {
    401: Ending.UNAUTHORIZED,
    403: Ending.UNAUTHORIZED,
    404: Ending.UNKNOWN_MODEL,
    408: Ending.TIMED_OUT,
    413: Ending.TOO_LARGE,
    431: Ending.TOO_LARGE,
    429: Ending.REFUSED,
    503: Ending.REFUSED,
}


def outcome_of_status(http_status: int) -> str:
    """The outcome of a request that was answered with ``http_status`` before it was queued."""
    if http_status == CLIENT_GONE:
        return Outcome.CANCELLED.text
    if http_status in _BY_STATUS:
        return _BY_STATUS[http_status].value
    return Ending.MALFORMED.value if http_status < 500 else Outcome.ERROR.text


@dataclass(frozen=True)
class Family:
    """One metric. ``bounds`` are a histogram's upper bounds, in integer units; ``merge`` joins several processes.

    A family that is not ``exported`` feeds the statistics extension only.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    divisor: int = 1
    bounds: tuple[int, ...] = ()
    merge: Literal["sum", "max"] = "sum"
    exported: bool = True

    @property
    def slots(self) -> int:
        """How many integers a series takes: one, or a histogram's buckets with the infinite one, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


_MODEL = ("model",)
_PIPELINE = ("model", "pipeline")
_STAGE = ("model", "pipeline", "stage")
_POOL = ("pool", "device_class", "share")


def _seconds(name: str, labels: tuple[str, ...], text: str, bounds: tuple[int, ...] = LATENCY_US) -> Family:
    return Family(name, "histogram", labels, text, MILLION, bounds)


# Counted by the gateways.
REQUESTS = Family(
    "penstock_requests_total",
    "counter",
    ("model", "outcome"),
    "Inference requests that are over, each in exactly one outcome. A model that is not served has an empty label.",
)
LATENCY = _seconds("penstock_request_latency_seconds", _MODEL, "From the arrival of a request to its result.")
QUEUE = _seconds("penstock_request_queue_seconds", _MODEL, "From the arrival of a request to its batch.")
SLACK = _seconds("penstock_request_slack_seconds", _MODEL, "Time left to the deadline, of results in time.")
LATENESS = _seconds("penstock_request_lateness_seconds", _MODEL, "Time after the deadline, of late results.")
SAMPLES = Family("penstock_samples_total", "counter", _MODEL, "Samples of the requests that got a result.")
IN_FLIGHT = Family("penstock_samples_in_flight", "gauge", (), "Samples that wait or run.")
FALLBACKS = Family(
    "penstock_transport_fallbacks_total",
    "counter",
    (),
    "Hops of batches that were meant for shared memory and went over a socket: no room there, or a receiver that hung.",
)
RETRIES = Family(
    "penstock_batch_retries_total",
    "counter",
    _MODEL,
    "Batches that were lost and whose requests were queued again. A batch counts at each gateway with a share of it.",
)
SLO = Family(
    "penstock_model_slo_seconds", "gauge", _MODEL, "The latency objective of the plan.", MILLION, merge="max"
)
PLANNED_RATE = Family(
    "penstock_model_planned_requests_per_second",
    "gauge",
    _MODEL,
    "The rate that the plan has room for.",
    MILLION,
    merge="max",
)

# Counted by the dispatcher.
BATCH_FILL = Family(
    "penstock_batch_fill_ratio",
    "histogram",
    _PIPELINE,
    "Samples of a batch over the batch size of the plan; of a piece, if the first stage is split.",
    MILLION,
    TENTHS,
)
STAGE_WAIT = _seconds(
    "penstock_stage_wait_seconds", _STAGE, "From a batch's arrival at its worker to its start."
)
STAGE_RUN = _seconds("penstock_stage_execution_seconds", _STAGE, "A batch on its worker, start to end.")
STAGE_TRANSFER = _seconds(
    "penstock_stage_transfer_seconds", _STAGE, "From the sender of a batch to its worker.", SHORT_US
)
RESERVATION_LATE = _seconds(
    "penstock_reservation_late_seconds",
    _STAGE,
    "How much later a stage ended than was reserved when its batch was dispatched.",
    SHORT_US,
)
RESERVATION_EARLY = _seconds(
    "penstock_reservation_early_seconds",
    _STAGE,
    "How much earlier a stage ended than was reserved, or no difference.",
    SHORT_US,
)
STAGE_INFO = Family(
    "penstock_stage_info",
    "gauge",
    (*_STAGE, *_POOL, "blocks"),
    "1 for each stage of the plan: the pool that runs it and its blocks.",
    merge="max",
)
BUSY = Family(
    "penstock_pool_busy_seconds_total",
    "counter",
    _POOL,
    "Time that the workers of a pool ran batches.",
    MILLION,
)
POOL_WORKERS = Family("penstock_pool_workers", "gauge", _POOL, "Workers that the plan gives to a pool.")
POOL_UP = Family("penstock_pool_workers_up", "gauge", _POOL, "Workers of a pool that can serve.")
POOL_DEATHS = Family(
    "penstock_pool_worker_failures_total", "counter", _POOL, "Times that a worker went down."
)
BATCH_FAILURES = Family(
    "penstock_batch_failures_total", "counter", _POOL, "Batches that a worker could not run."
)

ANSWERS = Family(
    "penstock_answers_total",
    "counter",
    ("protocol", "status"),
    "Answers to calls of any kind, by protocol and HTTP status; 499: the client had gone.",
)
PROTOCOLS = ("http", "grpc")
STATUSES = (200, 400, 401, 404, 405, 408, 411, 413, 415, 431, 499, 500, 501, 503, 504, 505)
OTHER_STATUS = "other"

# Measured by the supervisor when it starts.
LINK = Family(
    "penstock_link_bits_per_second",
    "gauge",
    ("sender", "receiver"),
    "What a link between two hosts carried of encrypted tensors when the server started.",
)

# Counted by each process about itself.
CPU = Family(
    "penstock_process_cpu_seconds_total", "counter", ("process",), "Processor time of a process.", MILLION
)
MEMORY = Family(
    "penstock_process_resident_memory_bytes", "gauge", ("process",), "The most memory that a process had."
)

# For the statistics extension alone.
FAILED_TIME = Family("failed_us", "counter", _MODEL, "", exported=False)
COMPUTE_TIME = Family("compute_us", "counter", _MODEL, "", exported=False)
LAST_RESULT = Family("last_unix_ms", "gauge", _MODEL, "", merge="max", exported=False)
BATCHES_BY_SIZE = Family("batches_by_size", "counter", ("model", "size"), "", exported=False)
COMPUTE_BY_SIZE = Family("compute_us_by_size", "counter", ("model", "size"), "", exported=False)

GATEWAY = (
    ANSWERS,
    REQUESTS,
    LATENCY,
    QUEUE,
    SLACK,
    LATENESS,
    SAMPLES,
    IN_FLIGHT,
    FALLBACKS,
    RETRIES,
    SLO,
    PLANNED_RATE,
)
DISPATCHER = (
    BATCH_FILL,
    STAGE_WAIT,
    STAGE_RUN,
    STAGE_TRANSFER,
    RESERVATION_LATE,
    RESERVATION_EARLY,
    STAGE_INFO,
    BUSY,
    POOL_WORKERS,
    POOL_UP,
    POOL_DEATHS,
    BATCH_FAILURES,
)
SUPERVISOR = (LINK,)
PROCESS = (CPU, MEMORY)
STATISTICS = (FAILED_TIME, COMPUTE_TIME, LAST_RESULT, BATCHES_BY_SIZE, COMPUTE_BY_SIZE)
FAMILIES = {family.name: family for family in (*GATEWAY, *DISPATCHER, *SUPERVISOR, *PROCESS, *STATISTICS)}
"""All of them by name, in the order of the page."""


def exported_names(families: Iterable[Family] = tuple(FAMILIES.values())) -> set[str]:
    """The names of the series on the page, with ``_bucket``, ``_sum`` and ``_count`` of histograms."""
    names = {family.name for family in families if family.exported and family.kind != "histogram"}
    for family in families:
        if family.exported and family.kind == "histogram":
            names |= {family.name + ending for ending in ("_bucket", "_sum", "_count")}
    return names
