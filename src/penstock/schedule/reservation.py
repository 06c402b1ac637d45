"""The reservation policy as an object: queues, reservations and decisions behind the ``Policy`` protocol.

The rule itself is in :mod:`penstock.schedule.reservation_kernels`, which the simulator calls without this
wrapper; here are only the calls, the room they need, and decisions as plain data.
"""

from __future__ import annotations

from itertools import pairwise
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.schedule import decide_kernels as kernels
from penstock.schedule import flight_kernels, queue_kernels
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
    return Facts(
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
        self._table = table
        facts = make_facts(table, dispatch_us=dispatch_us, overhead_us=overhead_us)
        self._state = make_state(table, facts, rule=rule_code(rule))

    @property
    def state(self) -> PolicyState:
        """The arrays behind the decisions, for metrics and tests; not to be written."""
        return self._state

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Queue a request; grows the ring where it is full."""
        if not 0 <= model < self._table.n_models:
            raise BadInputError(
                f"model (={model}) must be an index below {self._table.n_models} of the table."
            )
        queues = self._state.queues
        if queues.length[model] == queues.request.shape[1]:
            queues = grow_queues(queues)
            self._state = self._state._replace(queues=queues)
        queue_kernels.push(queues, now_us, model, request, deadline_us)

    def decide(self, now_us: int) -> Decision:
        """Every decision that is due at ``now_us``, and when to ask again."""
        dispatches: list[Dispatch] = []
        drops: list[tuple[int, int]] = []
        wake_us = self._wake_us()
        while wake_us <= now_us:
            rows = kernels.decide_due(self._state, now_us)
            self._read(kernels.NO_ROOM - rows if rows < 0 else rows, dispatches, drops)
            if rows < 0:
                self._make_room()
            wake_us = self._wake_us()
        return Decision(tuple(dispatches), tuple(drops), wake_us)

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """Correct the table by a real completion."""
        flight_kernels.complete(self._state, now_us, batch, stage)

    def abandon(self, now_us: int, batch: int) -> None:
        """Free what a batch that goes no further still holds."""
        flight_kernels.abandon(self._state, now_us, batch)

    def cancel(self, request: int) -> bool:
        """Take a queued request out."""
        return bool(queue_kernels.remove(self._state.queues, request))

    def worker_down(self, now_us: int, worker: int) -> None:
        """Promise ``worker`` nothing more and abandon its batches."""
        flight_kernels.worker_down(self._state, now_us, worker)

    def worker_up(self, now_us: int, worker: int) -> None:
        """Promise ``worker`` work again."""
        flight_kernels.worker_up(self._state, now_us, worker)

    def _wake_us(self) -> int:
        return int(min(self._state.queues.wake_us.tolist(), default=NEVER_US))

    def _make_room(self) -> None:
        flights = self._state.flights
        while not flight_kernels.has_room(flights, int(self._state.counter[0])):
            flights = grow_flights(flights)
        self._state = self._state._replace(flights=flights)

    def _read(self, rows: int, dispatches: list[Dispatch], drops: list[tuple[int, int]]) -> None:
        """Rows of the action table as plain data."""
        actions = self._state.actions
        for row, (kind, model, pipeline, batch, size) in enumerate(actions.head[:rows].tolist()):
            if kind == DROP:
                drops.append((int(actions.request[row, 0]), size))
                continue
            stages = int(self._table.stage_first[pipeline + 1] - self._table.stage_first[pipeline])
            dispatches.append(
                Dispatch(
                    batch,
                    model,
                    pipeline,
                    _plain(actions.request, row, size),
                    _plain(actions.worker, row, stages),
                    _plain(actions.start_us, row, stages),
                    _plain(actions.end_us, row, stages),
                )
            )


def _plain(table: I64, row: int, count: int) -> tuple[int, ...]:
    return tuple(table[row, :count].tolist())
