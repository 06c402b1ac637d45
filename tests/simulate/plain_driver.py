"""The same simulation in plain Python, for any policy object: slow, and easy to check.

It shares no code with the compiled loop but the noise model and the logs' layout, so that tests can
hold one against the other; with a journalling policy it also writes journals without a server.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence

from penstock.record import Outcome, Record
from penstock.schedule.policy import Decision, Dispatch, Policy
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import grow_batch_log, make_batch_log, make_record, make_request_log
from penstock.simulate.noise import noise_sigma, noise_source
from penstock.traffic.arrivals import Arrivals
from penstock.units import NEVER_US

Span = tuple[int, int]

_COMPLETION, _WAKE, _ARRIVAL = 0, 1, 2


def drive(
    policy: Policy,
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    model_names: Sequence[str],
    seed: int,
    noise: bool = False,
    dispatch_us: int = 0,
    overhead_us: int = 0,
) -> Record:
    """As :func:`penstock.simulate.routed.routed_simulator.simulate`, with a fresh ``policy`` that was told of the
    same costs."""
    run = _Run(policy, table, arrivals, model_names, seed, noise, dispatch_us, overhead_us)
    run.to_end()
    return make_record(table, model_names, run.requests, run.log, run.n_batches)


def first_free(busy: Sequence[Span], ready_us: int, length_us: int) -> int:
    """The first time from ``ready_us`` on at which ``length_us`` fits between the ``busy`` spans."""
    starts = sorted([ready_us, *(end for _, end in busy if end > ready_us)])
    return next(t for t in starts if all(end <= t or t + length_us <= start for start, end in busy))


class _Run:
    """The state of one simulation."""

    def __init__(
        self,
        policy: Policy,
        table: DispatchTable,
        arrivals: Arrivals,
        model_names: Sequence[str],
        seed: int,
        noise: bool,
        dispatch_us: int,
        overhead_us: int,
    ) -> None:
        self.policy, self.table = policy, table
        self.dispatch_us, self.overhead_us = dispatch_us, overhead_us
        self.requests = make_request_log(table, arrivals, model_names)
        self.sigma = noise_sigma(table, noise=noise)
        self.rng = noise_source(seed)
        stages = int((table.stage_offsets[1:] - table.stage_offsets[:-1]).max())
        self.log = make_batch_log(1024, stages, self.rng)
        self.n_batches = 0
        self.worker_free = [0] * table.n_workers
        self.uplinks: list[list[Span]] = [[] for _ in range(table.n_hosts)]
        self.downlinks: list[list[Span]] = [[] for _ in range(table.n_hosts)]
        self.sequence = itertools.count()
        self.events: list[tuple[int, int, int, int, int]] = [
            (int(time_us), _ARRIVAL, next(self.sequence), request, 0)
            for request, time_us in enumerate(arrivals.arrival_us)
        ]
        heapq.heapify(self.events)

    def to_end(self) -> None:
        """Process events by (time, priority, sequence) until none is left."""
        wake_us = NEVER_US
        while self.events or wake_us < NEVER_US:
            if self.events and self.events[0][:2] < (wake_us, _WAKE):
                now_us, kind, _, first, second = heapq.heappop(self.events)
                if kind == _COMPLETION:
                    self.policy.complete(now_us, first, second)
                else:
                    model, deadline_us = self.requests.model[first], self.requests.deadline_us[first]
                    self.policy.arrive(now_us, int(model), first, int(deadline_us))
            else:
                now_us = wake_us
            decision = self.policy.decide(now_us)
            self.apply(now_us, decision)
            wake_us = decision.wake_us

    def apply(self, now_us: int, decision: Decision) -> None:
        """Put a decision into effect."""
        for request, cause in decision.drops:
            self.requests.outcome[request] = cause
        for dispatch in decision.dispatches:
            self.execute(now_us, dispatch)

    def execute(self, now_us: int, dispatch: Dispatch) -> None:
        """Run a batch through its route, resources in promised order, and answer its requests."""
        batch = dispatch.batch
        self.n_batches = max(self.n_batches, batch + 1)
        while batch >= len(self.log.size):
            self.log = grow_batch_log(self.log, self.rng)
        log, size = self.log, len(dispatch.requests)
        log.model[batch], log.pipeline[batch], log.size[batch] = dispatch.model, dispatch.pipeline, size
        ready_us, sender = now_us + self.dispatch_us, None
        for column, worker in enumerate(dispatch.workers):
            stage = int(self.table.stage_offsets[dispatch.pipeline]) + column
            host = int(self.table.worker_host[worker])
            ready_us = self.receive(stage, size, sender, host, ready_us)
            start_us = max(ready_us, self.worker_free[worker])
            end_us = start_us + self.work_us(batch, column, stage, size)
            log.worker[batch, column] = worker
            log.queued_us[batch, column] = ready_us if column else now_us
            log.start_us[batch, column], log.end_us[batch, column] = start_us, end_us
            log.transfer_us[batch, column] = self.table.transfer_us[stage, size]
            self.worker_free[worker] = ready_us = end_us
            sender = host
            heapq.heappush(self.events, (end_us, _COMPLETION, next(self.sequence), batch, column))
        self.answer(dispatch, ready_us + self.overhead_us)

    def receive(self, stage: int, size: int, sender: int | None, host: int, ready_us: int) -> int:
        """When the input has arrived on ``host``."""
        transfer_us = int(self.table.transfer_us[stage, size])
        if sender is None or sender == host or transfer_us == 0:
            return ready_us + transfer_us
        busy = self.uplinks[sender] + self.downlinks[host]
        sent_us = first_free(busy, ready_us, transfer_us)
        for link in (self.uplinks[sender], self.downlinks[host]):
            link.append((sent_us, sent_us + transfer_us))
        return sent_us + transfer_us

    def work_us(self, batch: int, column: int, stage: int, size: int) -> int:
        """How long the batch really takes."""
        median_us, sigma = int(self.table.latency_us[stage, size]), float(self.sigma[stage, size])
        if sigma == 0.0:
            return median_us
        return max(1, math.floor(median_us * math.exp(sigma * float(self.log.normal[batch, column])) + 0.5))

    def answer(self, dispatch: Dispatch, finish_us: int) -> None:
        """Write down the end of the batch's requests."""
        for request in dispatch.requests:
            self.requests.pipeline[request] = dispatch.pipeline
            self.requests.batch[request] = dispatch.batch
            self.requests.finish_us[request] = finish_us
            met = finish_us <= self.requests.deadline_us[request]
            self.requests.outcome[request] = Outcome.MET if met else Outcome.LATE
