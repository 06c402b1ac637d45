"""What a gateway counts of every model, for ``/metrics`` and for the statistics extension.

Latency is the time from the arrival of a request at the gateway to its answer. Each inference request is counted in
exactly one outcome: by :meth:`ModelMetrics.settled` if it was queued, else by :meth:`GatewayMetrics.turned_away`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

from penstock.record import Outcome
from penstock.serve.gateway.waiting import Waiting
from penstock.serve.observe.catalogue import (
    ANSWERS,
    BATCHES_BY_SIZE,
    COMPUTE_BY_SIZE,
    COMPUTE_TIME,
    FAILED_TIME,
    FALLBACKS,
    IN_FLIGHT,
    LAST_RESULT,
    LATENCY,
    LATENESS,
    OTHER_STATUS,
    OUTCOMES,
    PLANNED_RATE,
    PROTOCOLS,
    QUEUE,
    REQUESTS,
    RETRIES,
    SAMPLES,
    SLACK,
    SLO,
    STATUSES,
    Family,
    outcome_of_status,
)
from penstock.serve.observe.counter_file import (
    Counters,
    Labels,
    ProcessMeter,
    Totals,
    counters_path,
    merged,
    read_counters,
)
from penstock.serve.spec import ModelSpec
from penstock.units import US_PER_S

UNKNOWN_MODEL = ""
"""The label of requests for a model that is not served: their names are the clients' choice, without a limit."""

_BY_MODEL = (
    LATENCY,
    QUEUE,
    SLACK,
    LATENESS,
    SAMPLES,
    RETRIES,
    SLO,
    PLANNED_RATE,
    FAILED_TIME,
    COMPUTE_TIME,
    LAST_RESULT,
)


@final
class ModelMetrics:
    """One model's counters."""

    def __init__(self, counters: Counters, model: ModelSpec) -> None:
        name = (model.name,)
        self._requests = {outcome: counters.cell(REQUESTS, (model.name, outcome)) for outcome in OUTCOMES}
        self._latency = counters.histogram(LATENCY, name)
        self._queue = counters.histogram(QUEUE, name)
        self._slack = counters.histogram(SLACK, name)
        self._lateness = counters.histogram(LATENESS, name)
        self._samples = counters.cell(SAMPLES, name)
        self._retries = counters.cell(RETRIES, name)
        self._failed_us = counters.cell(FAILED_TIME, name)
        self._compute_us = counters.cell(COMPUTE_TIME, name)
        self._last_unix_ms = counters.cell(LAST_RESULT, name)
        sizes = [(model.name, str(size)) for size in range(1, model.max_batch + 1)]
        self._batches = [counters.cell(BATCHES_BY_SIZE, labels) for labels in sizes]
        self._batch_compute_us = [counters.cell(COMPUTE_BY_SIZE, labels) for labels in sizes]
        self._plan = (
            (counters.cell(SLO, name), model.slo_us),
            (counters.cell(PLANNED_RATE, name), round(model.rate_rps * US_PER_S)),
        )

    def show_plan(self, *, is_served: bool) -> None:
        """Whether the plan's objective and rate for this model hold now."""
        for cell, value in self._plan:
            cell.set(value if is_served else 0)

    def batch(self, size: int, compute_us: int) -> None:
        """A batch came back; ``compute_us`` is its execution, summed over its stages."""
        self._batches[size - 1].add()
        self._batch_compute_us[size - 1].add(compute_us)

    def retried(self) -> None:
        """A batch was lost, and its requests wait again."""
        self._retries.add()

    def settled(self, request: Waiting, now_us: int, unix_ms: int) -> None:
        """A request that was queued got its answer."""
        assert request.outcome is not None
        self._requests[request.outcome.text].add()
        latency_us = now_us - request.arrival_us
        if not request.has_result:
            self._failed_us.add(latency_us)
            return
        left_us = request.deadline_us - now_us
        self._samples.add(request.samples)
        self._latency.observe(latency_us)
        self._queue.observe(max(request.dispatched_us - request.arrival_us, 0))
        self._compute_us.add(request.compute_us)
        self._last_unix_ms.set(unix_ms)
        if left_us >= 0:
            self._slack.observe(left_us)
        else:
            self._lateness.observe(-left_us)

    def turned_away(self, outcome: str) -> None:
        """A request ended in ``outcome`` before it was queued."""
        self._requests[outcome].add()


@final
class GatewayMetrics:
    """The counters of gateway ``number``; ``folder`` is the run's, or None for a server of one process.

    Each plan (epoch) has counters of its own, because its models may be others; models of the same name add up.
    """

    def __init__(
        self, models: Sequence[ModelSpec], folder: Path | None = None, *, number: int = 0, epoch: int = 0
    ) -> None:
        self._folder = folder
        self._name = f"gateway-{number}"
        self._meter = ProcessMeter(f"{self._name}-process", folder)
        self._counters = [self._meter.counters]
        own = self._counted(self._name, _own_series())
        self._unknown = {outcome: own.cell(REQUESTS, (UNKNOWN_MODEL, outcome)) for outcome in OUTCOMES}
        self._answers = {
            (protocol, status): own.cell(ANSWERS, (protocol, status))
            for protocol in PROTOCOLS
            for status in _STATUSES
        }
        self._in_flight = own.cell(IN_FLIGHT)
        self._fallbacks = own.cell(FALLBACKS)
        self._plans: dict[int, list[ModelMetrics]] = {}
        self.add_plan(epoch, models)
        self.serve(epoch)

    @property
    def models(self) -> list[ModelMetrics]:
        """Counters of each model of the plan that is served."""
        return self._plans[self._epoch]

    def of(self, epoch: int) -> list[ModelMetrics]:
        """Counters of each model of a plan."""
        return self._plans[epoch]

    def add_plan(self, epoch: int, models: Sequence[ModelSpec]) -> None:
        """Count for the plan of ``epoch`` too."""
        counters = self._counted(f"{self._name}-plan-{epoch}", _plan_series(models))
        self._plans[epoch] = [ModelMetrics(counters, model) for model in models]

    def serve(self, epoch: int) -> None:
        """New requests belong to the plan of ``epoch``: its objectives and rates hold now, and no others."""
        self._epoch = epoch
        for each, models in self._plans.items():
            for model in models:
                model.show_plan(is_served=each == epoch)

    def end_plan(self, epoch: int) -> None:
        """Nothing of ``epoch`` is on its way any more. What it counted stays."""
        self._plans.pop(epoch, None)

    def turned_away(self, model: int | None, http_status: int) -> None:
        """A request was answered with ``http_status`` before it was queued; None: its model is not served."""
        outcome = outcome_of_status(http_status)
        if model is None:
            self._unknown[outcome].add()
        else:
            self.models[model].turned_away(outcome)

    def answered(self, protocol: str, http_status: int) -> None:
        """A call of any kind got its answer."""
        cell = self._answers.get((protocol, str(http_status)))
        (self._answers[protocol, OTHER_STATUS] if cell is None else cell).add()

    def in_flight(self, samples: int) -> None:
        """``samples`` wait or run now."""
        self._in_flight.set(samples)

    def fell_back(self, hops: int) -> None:
        """So many hops of a batch were meant for shared memory and went another way."""
        self._fallbacks.add(hops)

    def measure(self, now_us: int) -> None:
        """Note this process's own use of the machine."""
        self._meter.measure(now_us)

    def totals(self) -> Totals:
        """The sums over all processes of the server."""
        if self._folder is None:
            return merged(counters.totals() for counters in self._counters)
        return read_counters(self._folder)

    def _counted(self, name: str, series: Iterable[tuple[Family, Labels]]) -> Counters:
        counters = Counters(series, None if self._folder is None else counters_path(self._folder, name))
        self._counters.append(counters)
        return counters


_STATUSES = (*map(str, STATUSES), OTHER_STATUS)


def _own_series() -> Iterator[tuple[Family, Labels]]:
    yield from ((REQUESTS, (UNKNOWN_MODEL, outcome)) for outcome in OUTCOMES)
    yield from ((ANSWERS, (protocol, status)) for protocol in PROTOCOLS for status in _STATUSES)
    yield IN_FLIGHT, ()
    yield FALLBACKS, ()


def _plan_series(models: Sequence[ModelSpec]) -> Iterator[tuple[Family, Labels]]:
    for model in models:
        yield from ((family, (model.name,)) for family in _BY_MODEL)
        yield from ((REQUESTS, (model.name, outcome)) for outcome in OUTCOMES)
        for size in range(1, model.max_batch + 1):
            yield BATCHES_BY_SIZE, (model.name, str(size))
            yield COMPUTE_BY_SIZE, (model.name, str(size))


def statistics(model: ModelSpec, totals: Totals) -> dict[str, Any]:
    """The statistics extension's document of one model; times in nanoseconds."""
    name = (model.name,)
    latency = totals[LATENCY.name, name]
    answered, latency_us = sum(latency[:-1]), latency[-1]
    queue_us = totals[QUEUE.name, name][-1]
    (compute_us,) = totals[COMPUTE_TIME.name, name]
    failed = sum(totals[REQUESTS.name, (model.name, outcome.text)][0] for outcome in _FAILED)
    # A plan before this one may have had larger batches.
    sizes = sorted(int(k[1]) for f, k in totals if f == BATCHES_BY_SIZE.name and k[0] == model.name)
    batches = {size: totals[BATCHES_BY_SIZE.name, (model.name, str(size))][0] for size in sizes}
    entry = {
        "name": model.public_name,
        "version": str(model.version),
        "last_inference": totals[LAST_RESULT.name, name][0],
        "inference_count": totals[SAMPLES.name, name][0],
        "execution_count": sum(batches.values()),
        "inference_stats": {
            "success": _duration(answered, latency_us),
            "fail": _duration(failed, totals[FAILED_TIME.name, name][0]),
            "queue": _duration(answered, queue_us),
            "compute_input": _duration(answered, 0),
            "compute_infer": _duration(answered, compute_us),
            # The time that is neither queueing nor computing: the messages between the processes.
            "compute_output": _duration(answered, max(latency_us - queue_us - compute_us, 0)),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_infer": _duration(count, totals[COMPUTE_BY_SIZE.name, (model.name, str(size))][0]),
            }
            for size, count in batches.items()
            if count
        ],
    }
    return {"model_stats": [entry]}


_FAILED = tuple(outcome for outcome in Outcome if outcome not in (Outcome.MET, Outcome.LATE))


def _duration(count: int, total_us: int) -> dict[str, int]:
    return {"count": count, "ns": total_us * 1_000}
