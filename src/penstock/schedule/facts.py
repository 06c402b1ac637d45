"""What decisions need of a dispatch table, computed once, and the empty state of a policy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from penstock.arrays import I64
from penstock.schedule.checks import checked_duration, checked_table
from penstock.schedule.mechanism.pool_tournament import build
from penstock.schedule.state.arrays import (
    Facts,
    PolicyState,
    SplitStages,
    WholeStages,
    make_actions,
    make_flights,
    make_queues,
    make_reservations,
    make_split_stages,
)
from penstock.schedule.table import DispatchTable
from penstock.units import LATEST_US


def make_facts(
    table: DispatchTable, *, dispatch_us: int = 0, overhead_us: int = 0, max_queue_delay_us: int | None = None
) -> Facts:
    """The facts of ``table`` for a driver that takes ``dispatch_us`` a batch and ``overhead_us`` a request.

    No head waits longer than ``max_queue_delay_us`` for company; None sets no limit but its deadline.

    The guard of a batch is ``overhead_us`` plus the root of the summed squares of ``p99 - median`` over the
    stages: the 99th percentile of a sum of independent stages, if they were normal. Of a split stage the largest piece
    counts. Raises :class:`BadInputError` for a
    table that :func:`penstock.schedule.checks.checked_table` refuses, and for a cost out of range.
    """
    table = checked_table(table)
    dispatch_us = checked_duration("dispatch_us", dispatch_us)
    overhead_us = checked_duration("overhead_us", overhead_us)
    if max_queue_delay_us is not None:
        max_queue_delay_us = checked_duration("max_queue_delay_us", max_queue_delay_us)
    pipelines = len(table.pipeline_batch)
    latency_us, p99_us = _by_batch(table, table.latency_us), _by_batch(table, table.p99_us)
    work = np.zeros((pipelines, table.latency_us.shape[1]), np.int64)
    guard = np.zeros_like(work)
    for pipeline in range(pipelines):
        stages = slice(table.stage_offsets[pipeline], table.stage_offsets[pipeline + 1])
        work[pipeline] = latency_us[stages].sum(axis=0) + table.transfer_us[stages].sum(axis=0)
        spread = (p99_us[stages] - latency_us[stages]).astype(np.float64)
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
        split=_split_stages(table),
    )
    arrays = {
        name: np.ascontiguousarray(each, np.int64)
        for name, each in facts._asdict().items()
        if name != "split"
    }
    return Facts(**arrays, split=facts.split)


def _by_batch(table: DispatchTable, times_us: I64) -> I64:
    """Times (stages, size) as times of the largest piece of a batch, by the batch's size."""
    if not table.splits:
        return times_us
    most = table.piece_batch[:, None]
    size = np.arange(times_us.shape[1])[None, :]
    pieces = np.maximum(-(-size // most), 1)
    return np.take_along_axis(times_us, -(-size // pieces), axis=1)


def _split_stages(table: DispatchTable) -> WholeStages | SplitStages:
    if not table.splits:
        return WholeStages()
    columns = np.add.reduceat(table.stage_pieces, table.stage_offsets[:-1])
    # A piece of k, and the next stage's m pieces: rows of k + m - 1 pairs overlap at most.
    room = max(1, 2 * int(columns.max()))
    return make_split_stages(np.ascontiguousarray(table.piece_batch), int(columns.max()), room)


def _lenders(table: DispatchTable) -> tuple[I64, I64]:
    """Offsets and pools: from which pools each stage may borrow, those of other models first in the table's order.

    A fleet with split stages lends nothing: a borrowed worker would have to be found for each piece.
    """
    if not table.lends or table.splits:
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
    stages, transfers = int(np.diff(table.stage_offsets).max()), 0
    if isinstance(facts.split, SplitStages):
        stages, transfers = len(facts.split.used), len(facts.split.sent)
    batch = int(table.pipeline_batch.max())
    reservations = make_reservations(table)
    build(facts, reservations)
    return PolicyState(
        facts=facts,
        queues=make_queues(table.n_models, capacity),
        reservations=reservations,
        flights=make_flights(table.n_workers, stages, capacity, transfers),
        actions=make_actions(rows, batch, stages),
        counter=np.zeros(1, np.int64),
        rule=np.array([rule], np.int64),
    )
