"""The reservation policy as an object: queues, reservations and decisions behind the ``Policy`` protocol.

The rules are in :mod:`penstock.schedule.rules`; the simulator calls them without this object. Here are the calls with
the checks of their arguments, the arrays that grow, and decisions as plain data.
"""

from __future__ import annotations

from itertools import pairwise
from typing import final

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.schedule import routed_calls as calls
from penstock.schedule.checks import (
    LARGEST_ID,
    LEAST_ID,
    checked_batch,
    checked_duration,
    checked_id,
    checked_index,
    checked_table,
    checked_time,
)
from penstock.schedule.mechanism.in_flight_kernels import has_room
from penstock.schedule.mechanism.pool_tournament import build
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.rule_numbers import PENSTOCK, RULES
from penstock.schedule.rules.reservation_kernels import DROP
from penstock.schedule.state.addresses import addresses_of
from penstock.schedule.state.arrays import (
    PACE_OF_PROFILE,
    Facts,
    PolicyState,
    grow_flights,
    grow_queues,
    make_actions,
    make_flights,
    make_queues,
    make_reservations,
)
from penstock.schedule.table import DispatchTable
from penstock.units import LATEST_US, NEVER_US


def rule_code(name: str) -> int:
    """The code of a rule; :class:`BadInputError` for an unknown name."""
    if name not in RULES:
        raise BadInputError(f"policy {name!r} is unknown. Use one of: {', '.join(RULES)}.")
    return RULES[name]


def make_facts(
    table: DispatchTable, *, dispatch_us: int = 0, overhead_us: int = 0, max_queue_delay_us: int | None = None
) -> Facts:
    """The facts of ``table`` for a driver that takes ``dispatch_us`` a batch and ``overhead_us`` a request.

    No head waits longer than ``max_queue_delay_us`` for company; None sets no limit but its deadline.

    The guard of a batch is ``overhead_us`` plus the root of the summed squares of ``p99 - median`` over the
    stages: the 99th percentile of a sum of independent stages, if they were normal. Raises :class:`BadInputError` for a
    table that :func:`penstock.schedule.checks.checked_table` refuses, and for a cost out of range.
    """
    table = checked_table(table)
    dispatch_us = checked_duration("dispatch_us", dispatch_us)
    overhead_us = checked_duration("overhead_us", overhead_us)
    if max_queue_delay_us is not None:
        max_queue_delay_us = checked_duration("max_queue_delay_us", max_queue_delay_us)
    pipelines = len(table.pipeline_batch)
    work = np.zeros((pipelines, table.latency_us.shape[1]), np.int64)
    guard = np.zeros_like(work)
    for pipeline in range(pipelines):
        stages = slice(table.stage_offsets[pipeline], table.stage_offsets[pipeline + 1])
        work[pipeline] = table.latency_us[stages].sum(axis=0) + table.transfer_us[stages].sum(axis=0)
        spread = (table.p99_us[stages] - table.latency_us[stages]).astype(np.float64)
        guard[pipeline] = np.ceil(np.sqrt((spread**2).sum(axis=0))) + overhead_us
    lender_offsets, lender_pool = _lenders(table)
    planned = (
        work[np.arange(pipelines), table.pipeline_batch] + guard[np.arange(pipelines), table.pipeline_batch]
    )
    slowest = np.maximum.reduceat(planned, table.pipeline_offsets[:-1])
    pool = table.pool_of_worker
    pool_worker = np.argsort(pool, kind="stable")
    facts = Facts(
        pipeline_offsets=table.pipeline_offsets,
        stage_offsets=table.stage_offsets,
        stage_pool=table.pool_of_stage,
        pipeline_batch=table.pipeline_batch,
        latency_us=table.latency_us,
        transfer_us=table.transfer_us,
        worker_host=table.worker_host,
        worker_pool=pool,
        worker_place=np.argsort(pool_worker),
        worker_rank=_ranks(table.worker_host, pool),
        pool_offsets=np.searchsorted(pool[pool_worker], np.arange(pool.max() + 2)),
        pool_worker=pool_worker,
        host_offsets=np.searchsorted(np.sort(table.worker_host), np.arange(table.n_hosts + 1)),
        host_worker=np.argsort(table.worker_host, kind="stable"),
        work_us=work,
        guard_us=guard,
        dispatch_us=np.array([dispatch_us], np.int64),
        queue_delay_us=np.array([LATEST_US if max_queue_delay_us is None else max_queue_delay_us], np.int64),
        least_us=np.array([(work + guard)[a:b, 1:].min() for a, b in pairwise(table.pipeline_offsets)]),
        lender_offsets=lender_offsets,
        lender_pool=lender_pool,
        pool_model=_first_models(table),
        spare_us=np.maximum(table.slo_us - slowest, 0),
    )
    return Facts(*(np.ascontiguousarray(each, np.int64) for each in facts))


def _lenders(table: DispatchTable) -> tuple[I64, I64]:
    """Offsets and pools: from which pools each stage may borrow, those of other models first in the table's order."""
    if not table.lends:
        return np.zeros(len(table.latency_us) + 1, np.int64), np.zeros(0, np.int64)
    group, pool = table.lend_group, table.pool_of_stage
    lenders = [pool[(group == group[s]) & (pool != pool[s])] for s in range(len(group))]
    return np.cumsum([0, *(len(each) for each in lenders)]), np.concatenate(lenders)


def _first_models(table: DispatchTable) -> I64:
    """The first model of every pool."""
    pipeline_of_stage = np.repeat(np.arange(len(table.pipeline_batch)), np.diff(table.stage_offsets))
    model_of_pipeline = np.repeat(np.arange(table.n_models), np.diff(table.pipeline_offsets))
    pool = table.pool_of_stage
    _, first = np.unique(pool, return_index=True)
    return np.asarray(model_of_pipeline[pipeline_of_stage[first]])


def _ranks(host: I64, pool: I64) -> I64:
    """The place of every worker in the order by (workers of the pool before it on its host, host).

    So workers that are next to each other in the order are on different hosts, if the pool has several.
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
    stages = int(np.diff(table.stage_offsets).max())
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

    ``rule`` names how it chooses among them, one of :data:`penstock.schedule.rule_numbers.RULES`; ``reservation`` is
    the published one.
    ``dispatch_us`` and ``overhead_us``: what the driver adds between a decision and the start of its batch, and
    to each request end to end; predictions count both. ``max_queue_delay_us``: the longest that a head waits for
    company, None for as long as its deadline allows. Raises :class:`BadInputError` for a negative one, and for an
    unknown rule.
    """

    def __init__(
        self,
        table: DispatchTable,
        *,
        rule: str = "reservation",
        dispatch_us: int = 0,
        overhead_us: int = 0,
        max_queue_delay_us: int | None = None,
    ) -> None:
        facts = make_facts(
            table, dispatch_us=dispatch_us, overhead_us=overhead_us, max_queue_delay_us=max_queue_delay_us
        )
        self._models, self._workers = table.n_models, table.n_workers
        # The policy learns what transfers take, so it has its own.
        self._planned_us = facts.transfer_us
        self._link_pace = [PACE_OF_PROFILE] * len(facts.transfer_us)
        facts = facts._replace(transfer_us=facts.transfer_us.copy())
        self._adopt(make_state(table, facts, rule=rule_code(rule)))
        self._stages = self._state.flights.worker.shape[1]
        self._report = calls.make_report(self._state.actions)
        self._arrive, self._decide, self._complete = calls.frequent_calls()
        self._wake_us = NEVER_US

    @property
    def state(self) -> PolicyState:
        """The arrays behind the decisions, for metrics and tests; not to be written."""
        return self._state

    @property
    def in_flight(self) -> int:
        """Batches that were dispatched and are neither finished nor abandoned."""
        return int(np.count_nonzero(self._state.flights.batch >= 0))

    # Every call checks what it is given, because the kernels do not. The usual case is written out: all are plain
    # integers in their ranges, which one expression decides in a tenth of a microsecond. The functions of
    # penstock.schedule.checks then take other kinds of integers, and say what is wrong with the rest. What is passed on
    # is a plain integer of 64 bits, so the entry points of kernels may be called without numba's own look at it.

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Queue a request; the ring of its model grows if it is full."""
        if not (
            type(now_us) is type(model) is type(request) is type(deadline_us) is int
            and 0 <= now_us <= LATEST_US
            and 0 <= model < self._models
            and LEAST_ID <= request <= LARGEST_ID
            and 0 <= deadline_us <= LATEST_US
        ):
            now_us, model = checked_time("now_us", now_us), checked_index("model", model, self._models)
            request, deadline_us = checked_id("request", request), checked_time("deadline_us", deadline_us)
        while not self._arrive(self._block, now_us, model, request, deadline_us):
            self._adopt(self._state._replace(queues=grow_queues(self._state.queues)))
        if now_us < self._wake_us:  # noqa: PLR1730  (a call of min takes longer than the checks above)
            self._wake_us = now_us

    def decide(self, now_us: int) -> Decision:
        """Every decision that is due at ``now_us``, and when to ask again."""
        if not (type(now_us) is int and 0 <= now_us <= LATEST_US):
            now_us = checked_time("now_us", now_us)
        if self._wake_us > now_us:
            return Decision((), (), self._wake_us)
        dispatches: list[Dispatch] = []
        drops: list[tuple[int, int]] = []
        while self._wake_us <= now_us:
            words = self._report[: self._decide(self._block, now_us, self._report)].tolist()
            self._wake_us, needs_room, *actions = words
            _read(actions, dispatches, drops)
            if needs_room:
                self._make_room()
        return Decision(tuple(dispatches), tuple(drops), self._wake_us)

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """Correct the table by a real completion."""
        if not (
            type(now_us) is type(batch) is type(stage) is int
            and 0 <= now_us <= LATEST_US
            and 0 <= batch <= LARGEST_ID
            and 0 <= stage < self._stages
        ):
            now_us, batch = checked_time("now_us", now_us), checked_batch(batch)
            stage = checked_index("stage", stage, self._stages)
        self._wake_us = self._complete(self._block, now_us, batch, stage)

    def transferred(self, now_us: int, batch: int, stage: int, transfer_us: int) -> None:
        """Move the pace of the link into a stage by a 64th of the difference to what this transfer took, as the pace of
        a stage moves. It counts as the planned time at least, because the sums of least times rely on that, and as four
        times that at most. Of the rule ``penstock`` only, as with stages."""
        now_us, batch = checked_time("now_us", now_us), checked_batch(batch)
        stage = checked_index("stage", stage, self._stages)
        transfer_us = checked_duration("transfer_us", transfer_us)
        flights, facts = self._state.flights, self._state.facts
        slot = batch & (len(flights.batch) - 1)
        if stage == 0 or flights.batch[slot] != batch or self._state.rule[0] != PENSTOCK:
            return
        receiver, sender = int(flights.worker[slot, stage]), int(flights.worker[slot, stage - 1])
        sender = int(flights.sender[slot]) if sender < 0 else sender
        if receiver < 0 or sender < 0 or facts.worker_host[sender] == facts.worker_host[receiver]:
            return
        at, size = int(flights.first_stage[slot]) + stage, int(flights.size[slot])
        planned_us = int(self._planned_us[at, size])
        if planned_us:
            counted_us = min(max(transfer_us, planned_us), 4 * planned_us)
            pace = self._link_pace[at]
            pace += (PACE_OF_PROFILE * counted_us // planned_us - pace) // 64
            self._link_pace[at] = pace
            facts.transfer_us[at] = self._planned_us[at] * pace // PACE_OF_PROFILE

    def abandon(self, now_us: int, batch: int) -> tuple[int, ...]:
        """Free what a batch that goes no further still holds; returns it, or nothing if it is not in flight."""
        now_us, batch = checked_time("now_us", now_us), checked_batch(batch)
        was_in_flight, self._wake_us = calls.abandon(self._block, now_us, batch)
        return (batch,) if was_in_flight else ()

    def cancel(self, request: int) -> bool:
        """Take a queued request out."""
        was_queued, self._wake_us = calls.cancel(self._block, checked_id("request", request))
        return bool(was_queued)

    def worker_down(self, now_us: int, worker: int) -> tuple[int, ...]:
        """Promise ``worker`` nothing more; abandon its batches, and return them in the order of their dispatch."""
        now_us, worker = checked_time("now_us", now_us), checked_index("worker", worker, self._workers)
        flights = self._state.flights
        held = (flights.worker == worker).any(axis=1) | (flights.sender == worker)
        lost = sorted(flights.batch[held & (flights.batch >= 0)].tolist())
        for batch in lost:
            calls.abandon(self._block, now_us, batch)
        self._wake_us = calls.worker_down(self._block, worker)
        return tuple(lost)

    def worker_up(self, now_us: int, worker: int) -> None:
        """Promise ``worker`` work again."""
        now_us, worker = checked_time("now_us", now_us), checked_index("worker", worker, self._workers)
        self._wake_us = calls.worker_up(self._block, now_us, worker)

    def _adopt(self, state: PolicyState) -> None:
        """Keep the arrays and their addresses, always together."""
        self._state, self._block = state, addresses_of(state)

    def _make_room(self) -> None:
        flights = self._state.flights
        while not has_room(flights, int(self._state.counter[0])):
            flights = grow_flights(flights)
        self._adopt(self._state._replace(flights=flights))


def _read(words: list[int], dispatches: list[Dispatch], drops: list[tuple[int, int]]) -> None:
    """The actions of a report as plain data; see :func:`penstock.schedule.routed_calls.decide`."""
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
