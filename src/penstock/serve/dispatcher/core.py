"""What the dispatcher does with each event, without I/O: the policy decides, this keeps the books around it.

Every method takes the time, and returns what to tell the gateway. A batch is in flight from its dispatch
until its last stage is done or a worker of its route dies; so each batch ends exactly once.

A real timer fires late. The policy waits for the last moment at which a batch still makes its deadline, so
asked a few microseconds after it, it would drop what it meant to send. A decision that is late by no more
than ``late_us`` is therefore made as of the moment it was due; the predictions' own allowance for what the
server adds to a request covers the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from penstock.record import Outcome
from penstock.schedule.policy import Dispatch, Policy
from penstock.schedule.table import DispatchTable
from penstock.serve.messages import Arrive, Assign, Dropped, Failed, Hop, Readiness, StageDone, StageFailed
from penstock.units import NEVER_US

Told = list[Assign | Dropped | Failed | Readiness]


@dataclass
class _Flight:
    """A batch on its way: its route, and how many of its stages are done."""

    pipeline: int
    workers: tuple[int, ...]
    stages_done: int = 0


@final
class Dispatcher:
    """The books around one policy. All workers are down until :meth:`worker_up`."""

    def __init__(self, policy: Policy, table: DispatchTable, now_us: int, *, late_us: int) -> None:
        self._policy = policy
        self._late_us = late_us
        self._table = table
        self._endpoints: list[str | None] = [None] * table.n_workers
        self._flights: dict[int, _Flight] = {}
        self._siblings: dict[int, range] = {}
        self.wake_us = NEVER_US
        for worker in range(table.n_workers):
            policy.worker_down(now_us, worker)

    @property
    def in_flight(self) -> int:
        """Batches on their way."""
        return len(self._flights)

    def arrive(self, now_us: int, message: Arrive) -> Told:
        """Queue the samples of a request, each a unit of its own to the policy."""
        told = self.catch_up(now_us)
        units = range(message.first, message.first + message.samples)
        for unit in units:
            if len(units) > 1:
                self._siblings[unit] = units
            self._policy.arrive(now_us, message.model, unit, message.deadline_us)
        return told + self._decide(now_us)

    def catch_up(self, now_us: int) -> Told:
        """The decisions that were due by ``now_us``, as of their own moments where that is not long ago."""
        told: Told = []
        while (due_us := self.wake_us) <= now_us:
            told += self._decide(max(due_us, now_us - self._late_us))
            if self.wake_us <= due_us:
                break
        return told

    def _decide(self, now_us: int) -> Told:
        """What the policy wants at ``now_us``; sets :attr:`wake_us`."""
        decision = self._policy.decide(now_us)
        self.wake_us = decision.wake_us
        told: Told = [self._assign(dispatch) for dispatch in decision.dispatches]
        for unit, cause in decision.drops:
            told += self._drop(unit, cause)
        return told

    def stage_done(self, now_us: int, message: StageDone) -> Told:
        """Correct the policy's table by what really happened.

        Reports of two workers may overtake each other. The policy gets stages in order: one that is done
        implies those before it, and their own reports then say nothing new.
        """
        told = self.catch_up(now_us)
        flight = self._flights.get(message.batch)
        if flight is not None:
            for stage in range(flight.stages_done, message.stage + 1):
                self._policy.complete(now_us, message.batch, stage)
            flight.stages_done = max(flight.stages_done, message.stage + 1)
            if flight.stages_done == len(flight.workers):
                del self._flights[message.batch]
        return told + self._decide(now_us)

    def stage_failed(self, now_us: int, message: StageFailed) -> Told:
        """The batch goes no further; its worker lives on."""
        told = self.catch_up(now_us)
        self._policy.abandon(now_us, message.batch)
        if self._flights.pop(message.batch, None) is not None:
            told.append(Failed((message.batch,), -1, message.message))
        return told + self._decide(now_us)

    def worker_up(self, now_us: int, worker: int, endpoint: str) -> Told:
        """``worker`` listens at ``endpoint`` and is idle."""
        told = self.catch_up(now_us)
        self._endpoints[worker] = endpoint
        self._policy.worker_up(now_us, worker)
        return [*told, self._readiness(), *self._decide(now_us)]

    def worker_down(self, now_us: int, worker: int, reason: str) -> Told:
        """``worker`` died: what it held is lost, and what it had sent on may be.

        A batch counts as safe only once the stage after it is done; the gateway settles the last stage,
        because only it knows which results it got.
        """
        told = self.catch_up(now_us)
        self._endpoints[worker] = None
        lost = [batch for batch, flight in self._flights.items() if _may_be_lost(flight, worker)]
        for batch in lost:
            del self._flights[batch]
            self._policy.abandon(now_us, batch)
        self._policy.worker_down(now_us, worker)
        return [*told, Failed(tuple(lost), worker, reason), self._readiness(), *self._decide(now_us)]

    def _assign(self, dispatch: Dispatch) -> Assign:
        self._flights[dispatch.batch] = _Flight(dispatch.pipeline, dispatch.workers)
        for unit in dispatch.requests:
            self._siblings.pop(unit, None)
        return Assign(dispatch.batch, dispatch.pipeline, dispatch.requests, self._route(dispatch.workers))

    def _route(self, workers: Sequence[int]) -> tuple[Hop, ...]:
        hops = []
        for worker in workers:
            endpoint = self._endpoints[worker]
            assert endpoint is not None, f"the policy chose worker {worker}, which is down"
            hops.append(Hop(worker, endpoint))
        return tuple(hops)

    def _drop(self, unit: int, cause: int) -> list[Dropped]:
        """Give up ``unit``, and what still waits of its request: a part of an answer is no answer."""
        for sibling in self._siblings.pop(unit, ()):
            if sibling != unit and self._siblings.pop(sibling, None) is not None:
                self._policy.cancel(sibling)
        return [Dropped(unit, int(Outcome(cause)))]

    def _readiness(self) -> Readiness:
        """A model is ready when each stage of one of its pipelines has a worker in its pool."""
        table = self._table
        up = [endpoint is not None for endpoint in self._endpoints]
        in_pool = np.bincount(table.pool_of_worker, weights=up)
        stages = [int(count) for count in in_pool[table.pool_of_stage]]
        whole = [all(stages[a:b]) for a, b in _spans(table.stage_first.tolist())]
        models = [any(whole[a:b]) for a, b in _spans(table.pipeline_first.tolist())]
        return Readiness(tuple(models), tuple(stages))


def _may_be_lost(flight: _Flight, worker: int) -> bool:
    return any(hop == worker and flight.stages_done <= stage + 1 for stage, hop in enumerate(flight.workers))


def _spans(first: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(first))
