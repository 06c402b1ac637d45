"""Counts and times of every model, for ``/metrics`` (Prometheus text) and the statistics extension.

Latency is from the request's arrival at the gateway to its answer, in fixed buckets that add up over
servers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, final

from penstock.record import Outcome
from penstock.serve.gateway.ledger import Waiting
from penstock.serve.protocol.routes import VERSION
from penstock.serve.spec import ModelSpec
from penstock.units import US_PER_S

# Four a decade: the steps of the field's dashboards, 1 ms to 10 s.
BUCKETS_US = (
    *(round(step * decade) for decade in (1e3, 1e4, 1e5, 1e6) for step in (1, 2.5, 5, 7.5)),
    10_000_000,
)


@final
class ModelMetrics:
    """One model's counters; all times are sums in microseconds over answered requests."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.refused = 0
        self.samples = 0
        self.batches: Counter[int] = Counter()
        self.batch_compute_us: Counter[int] = Counter()
        self.buckets = [0] * (len(BUCKETS_US) + 1)
        self.latency_us = 0
        self.failed_us = 0
        self.queue_us = 0
        self.compute_us = 0
        self.last_unix_ms = 0

    @property
    def answered(self) -> int:
        """Requests that got a result."""
        return self.requests[Outcome.MET.text] + self.requests[Outcome.LATE.text]

    def batch(self, size: int, compute_us: int) -> None:
        """A batch came back; ``compute_us`` is its execution, summed over its stages."""
        self.batches[size] += 1
        self.batch_compute_us[size] += compute_us

    def settled(self, request: Waiting, now_us: int, unix_ms: int) -> None:
        """A request got its answer."""
        assert request.outcome is not None
        self.requests[request.outcome.text] += 1
        latency_us = now_us - request.arrival_us
        if request.outcome not in (Outcome.MET, Outcome.LATE):
            self.failed_us += latency_us
            return
        self.samples += request.samples
        self.buckets[bisect_left(BUCKETS_US, latency_us)] += 1
        self.latency_us += latency_us
        self.queue_us += request.dispatched_us - request.arrival_us
        self.compute_us += request.compute_us
        self.last_unix_ms = unix_ms


def prometheus_text(
    models: Sequence[ModelSpec], metrics: Sequence[ModelMetrics], in_flight: int, workers_up: Sequence[int]
) -> str:
    """The page a Prometheus server reads."""
    named = [(f'model="{_escaped(model.name)}"', m) for model, m in zip(models, metrics, strict=True)]
    lines = [*_header("penstock_requests_total", "counter", "Requests answered, by outcome.")]
    for label, m in named:
        for outcome in Outcome:
            count = m.requests[outcome.text]
            lines.append(f'penstock_requests_total{{{label},outcome="{outcome.text}"}} {count}')
    lines += _header(
        "penstock_requests_refused_total", "counter", "Requests refused before they were queued."
    )
    lines += [f"penstock_requests_refused_total{{{label}}} {m.refused}" for label, m in named]
    lines += _header("penstock_request_latency_seconds", "histogram", "From arrival to a result.")
    for label, m in named:
        lines += _histogram(label, m)
    lines += _header("penstock_batches_total", "counter", "Batches that came back.")
    lines += [f"penstock_batches_total{{{label}}} {m.batches.total()}" for label, m in named]
    lines += _header("penstock_samples_in_flight", "gauge", "Samples that wait or run.")
    lines.append(f"penstock_samples_in_flight {in_flight}")
    lines += _header("penstock_workers_up", "gauge", "Workers that can serve each stage of the plan.")
    lines += [f'penstock_workers_up{{stage="{stage}"}} {count}' for stage, count in enumerate(workers_up)]
    return "\n".join(lines) + "\n"


def statistics(model: ModelSpec, metrics: ModelMetrics) -> dict[str, Any]:
    """The statistics extension's document of one model; times in nanoseconds."""
    answered = metrics.answered
    rest_us = metrics.latency_us - metrics.queue_us - metrics.compute_us
    entry = {
        "name": model.name,
        "version": VERSION,
        "last_inference": metrics.last_unix_ms,
        "inference_count": metrics.samples,
        "execution_count": metrics.batches.total(),
        "inference_stats": {
            "success": _duration(answered, metrics.latency_us),
            "fail": _duration(metrics.requests.total() - answered, metrics.failed_us),
            "queue": _duration(answered, metrics.queue_us),
            "compute_input": _duration(answered, 0),
            "compute_infer": _duration(answered, metrics.compute_us),
            # What is neither queueing nor computing: the ways between the processes.
            "compute_output": _duration(answered, max(rest_us, 0)),
        },
        "batch_stats": [
            {"batch_size": size, "compute_infer": _duration(count, metrics.batch_compute_us[size])}
            for size, count in sorted(metrics.batches.items())
        ],
    }
    return {"model_stats": [entry]}


def _histogram(label: str, metrics: ModelMetrics) -> Iterator[str]:
    name = "penstock_request_latency_seconds"
    total = 0
    for bound_us, count in zip(BUCKETS_US, metrics.buckets, strict=False):
        total += count
        yield f'{name}_bucket{{{label},le="{bound_us / US_PER_S:g}"}} {total}'
    yield f'{name}_bucket{{{label},le="+Inf"}} {metrics.answered}'
    yield f"{name}_sum{{{label}}} {metrics.latency_us / US_PER_S}"
    yield f"{name}_count{{{label}}} {metrics.answered}"


def _header(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _duration(count: int, total_us: int) -> dict[str, int]:
    return {"count": count, "ns": total_us * 1_000}
