"""The reservation policy as an object: queues, reservations and decisions behind the ``Policy`` protocol.

The rule itself is in :mod:`penstock.schedule.reservation_kernels`, which the simulator calls without this
wrapper; here are only the calls, the room they need, and decisions as plain data.
"""

from __future__ import annotations

from itertools import pairwise
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.schedule import call_kernels as calls
from penstock.schedule.flight_kernels import has_room
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.pool_index import build
from penstock.schedule.reservation_kernels import DROP
from penstock.schedule.rules import RULES
from penstock.schedule.state import (
    Facts,
    PolicyState,
    grow_flights,
    grow_queues,
    make_actions,
    make_flights,
    make_queues,
    make_reservations,
)
from penstock.schedule.state_block import pack
from penstock.schedule.table import I64, DispatchTable
from penstock.units import NEVER_US


def rule_code(name: str) -> int:
    """The code of a rule; :class:`BadInputError` for an unknown name."""
    if name not in RULES:
        raise BadInputError(f"policy {name!r} is unknown. Use one of: {', '.join(RULES)}.")
    return RULES[name]


def make_facts(table: DispatchTable, *, dispatch_us: int = 0, overhead_us: int = 0) -> Facts:
    """The facts of ``table`` for a driver that takes ``dispatch_us`` a batch and ``overhead_us`` a request.

    The guard of a batch is ``overhead_us`` plus the root of the summed squares of ``p99 - median`` over the
    stages: the 99th percentile of a sum of independent stages, were they normal.
    """
    if dispatch_us < 0 or overhead_us < 0:
        raise BadInputError(
            f"dispatch_us (={dispatch_us}) and overhead_us (={overhead_us}) must be >= 0: correct the sign."
        )
    pipelines = len(table.pipeline_batch)
    work = np.zeros((pipelines, table.latency_us.shape[1]), np.int64)
    guard = np.zeros_like(work)
    for pipeline in range(pipelines):
        stages = slice(table.stage_first[pipeline], table.stage_first[pipeline + 1])
        work[pipeline] = table.latency_us[stages].sum(axis=0) + table.transfer_us[stages].sum(axis=0)
        spread = (table.p99_us[stages] - table.latency_us[stages]).astype(np.float64)
        guard[pipeline] = np.ceil(np.sqrt((spread**2).sum(axis=0))) + overhead_us
    pool = table.pool_of_worker
    pool_worker = np.argsort(pool, kind="stable")
    facts = Facts(
        pipeline_first=table.pipeline_first,
        stage_first=table.stage_first,
        stage_pool=table.pool_of_stage,
        pipeline_batch=table.pipeline_batch,
        latency_us=table.latency_us,
        transfer_us=table.transfer_us,
        worker_host=table.worker_host,
        worker_pool=pool,
        worker_place=np.argsort(pool_worker),
        worker_rank=_ranks(table.worker_host, pool),
        pool_first=np.searchsorted(pool[pool_worker], np.arange(pool.max() + 2)),
        pool_worker=pool_worker,
        host_first=np.searchsorted(np.sort(table.worker_host), np.arange(table.n_hosts + 1)),
        host_worker=np.argsort(table.worker_host, kind="stable"),
        work_us=work,
        guard_us=guard,
        dispatch_us=np.array([dispatch_us], np.int64),
        least_us=np.array([(work + guard)[a:b, 1:].min() for a, b in pairwise(table.pipeline_first)]),
    )
    return Facts(*(np.ascontiguousarray(each, np.int64) for each in facts))


def _ranks(host: I64, pool: I64) -> I64:
    """Places by (how many workers of the pool sit before it on its host, host).

    So neighbours in the order share no interface, as far as the pool's hosts allow.
    """
    seen: dict[tuple[int, int], int] = {}
    before = []
    for place in zip(pool.tolist(), host.tolist(), strict=True):
        before.append(seen.get(place, 0))
        seen[place] = before[-1] + 1
    order = np.lexsort((host, np.array(before), pool))
    rank = np.empty(len(host), np.int64)
    rank[order] = np.arange(len(host))
    return rank


def make_state(
    table: DispatchTable, facts: Facts, *, rule: int = 0, rows: int = 16, capacity: int = 256
) -> PolicyState:
    """Empty queues and idle resources for ``table``; ``rule`` is one of :mod:`penstock.schedule.rules`."""
    stages = int(np.diff(table.stage_first).max())
    batch = int(table.pipeline_batch.max())
    reservations = make_reservations(table)
    build(facts, reservations)
    return PolicyState(
        facts=facts,
        queues=make_queues(table.n_models, capacity),
        reservations=reservations,
        flights=make_flights(table.n_workers, stages, capacity),
        actions=make_actions(rows, batch, stages),
        counter=np.zeros(1, np.int64),
        rule=np.array([rule], np.int64),
    )


@final
class ReservationPolicy:
    """A policy that reserves whole routes; see :class:`penstock.schedule.policy.Policy` for the methods.

    ``rule`` names how it chooses among them, one of :data:`penstock.schedule.rules.RULES`; ``reservation`` is the
    published one.
    ``dispatch_us`` and ``overhead_us``: what the driver adds between a decision and the start of its batch, and
    to each request end to end; predictions count both. Raises :class:`BadInputError` for a negative one, and for an
    unknown rule.
    """

    def __init__(
        self, table: DispatchTable, *, rule: str = "reservation", dispatch_us: int = 0, overhead_us: int = 0
    ) -> None:
        self._models = table.n_models
        facts = make_facts(table, dispatch_us=dispatch_us, overhead_us=overhead_us)
        self._adopt(make_state(table, facts, rule=rule_code(rule)))
        self._report = calls.make_report(self._state.actions)
        self._wake_us = NEVER_US

    @property
    def state(self) -> PolicyState:
        """The arrays behind the decisions, for metrics and tests; not to be written."""
        return self._state

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Queue a request; grows the ring where it is full."""
        if not 0 <= model < self._models:
            raise BadInputError(f"model (={model}) must be an index below {self._models} of the table.")
        while not calls.arrive(self._block, now_us, model, request, deadline_us):
            self._adopt(self._state._replace(queues=grow_queues(self._state.queues)))
        self._wake_us = min(self._wake_us, now_us)

    def decide(self, now_us: int) -> Decision:
        """Every decision that is due at ``now_us``, and when to ask again."""
        if self._wake_us > now_us:
            return Decision((), (), self._wake_us)
        dispatches: list[Dispatch] = []
        drops: list[tuple[int, int]] = []
        while self._wake_us <= now_us:
            words = self._report[: calls.decide(self._block, now_us, self._report)].tolist()
            self._wake_us, needs_room, *actions = words
            _read(actions, dispatches, drops)
            if needs_room:
                self._make_room()
        return Decision(tuple(dispatches), tuple(drops), self._wake_us)

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """Correct the table by a real completion."""
        self._wake_us = calls.complete(self._block, now_us, batch, stage)

    def abandon(self, now_us: int, batch: int) -> None:
        """Free what a batch that goes no further still holds."""
        self._wake_us = calls.abandon(self._block, now_us, batch)

    def cancel(self, request: int) -> bool:
        """Take a queued request out."""
        was_queued, self._wake_us = calls.cancel(self._block, request)
        return bool(was_queued)

    def worker_down(self, now_us: int, worker: int) -> None:
        """Promise ``worker`` nothing more and abandon its batches."""
        self._wake_us = calls.worker_down(self._block, now_us, worker)

    def worker_up(self, now_us: int, worker: int) -> None:
        """Promise ``worker`` work again."""
        self._wake_us = calls.worker_up(self._block, now_us, worker)

    def _adopt(self, state: PolicyState) -> None:
        """Keep the arrays and their addresses, always together."""
        self._state, self._block = state, pack(state)

    def _make_room(self) -> None:
        flights = self._state.flights
        while not has_room(flights, int(self._state.counter[0])):
            flights = grow_flights(flights)
        self._adopt(self._state._replace(flights=flights))


def _read(words: list[int], dispatches: list[Dispatch], drops: list[tuple[int, int]]) -> None:
    """The actions of a report as plain data; see :func:`penstock.schedule.call_kernels.decide`."""
    at = 0
    while at < len(words):
        kind, model, pipeline, batch, size, stages = words[at : at + 6]
        at += 6
        if kind == DROP:
            drops.append((words[at], size))
            at += 1
            continue
        workers = at + size
        starts, ends = workers + stages, workers + 2 * stages
        dispatches.append(
            Dispatch(
                batch,
                model,
                pipeline,
                tuple(words[at:workers]),
                tuple(words[workers:starts]),
                tuple(words[starts:ends]),
                tuple(words[ends : ends + stages]),
            )
        )
        at = ends + stages
