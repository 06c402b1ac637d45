"""The policy ``penstock`` (without lending and noise) for batches that are split among several workers of a stage.

Written for this question alone, after :mod:`penstock.schedule.rules.reservation_kernels` and
:mod:`penstock.simulate.routed.event_loop`. A route has a worker for each piece. The whole route is reserved at once, so
a batch that is dispatched meets its deadline. Each piece takes the worker of the pool that starts first, and gets what
it needs from every piece of the stage before that holds a part of its requests, one transfer after the other. Without
split stages the counts are those of the product's simulator, to the last request; ``rebatch.py`` checks that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.schedule.facts import make_facts
from penstock.schedule.mechanism.link_kernels import first_fit, hold, release
from penstock.schedule.rules.reservation_kernels import MOST_LOOKED_AT
from penstock.schedule.state.arrays import Links, make_links
from penstock.schedule.table import DispatchTable
from penstock.traffic.arrivals import Arrivals
from penstock.units import NEVER_US


class SplitTable(NamedTuple):
    """A plan. As :class:`penstock.schedule.table.DispatchTable`, and ``stage_batch`` (stages,): the largest piece,
    ``latency_us`` (stages, largest piece + 1), ``sample_us`` (stages,): to receive a sample, ``work_us`` (pipelines,
    batch + 1), ``rounded_us`` (pipelines, batch + 1): by how much more transfers of single pieces may be rounded up."""

    slo_us: I64
    pipeline_offsets: I64
    stage_offsets: I64
    worker_offsets: I64
    pipeline_batch: I64
    stage_batch: I64
    latency_us: I64
    sample_us: F64
    worker_host: I64
    worker_rank: I64
    work_us: I64
    rounded_us: I64


class State(NamedTuple):
    """What is promised, and what the last probe held.

    ``number`` (2,): workers and transfers held. ``held_worker`` (n, 2): worker, free before. ``held_transfer`` (n, 4):
    sender, receiver, start, end. ``piece`` (2, n, 4): of the stage before and of this one: first request, end, worker,
    end of work. ``begun_us`` (1,): when the last piece of the first stage starts.
    """

    free_us: I64
    uplinks: Links
    downlinks: Links
    number: I64
    held_worker: I64
    held_transfer: I64
    piece: I64
    begun_us: I64


@compiled
def moved_us(size: int, sample_us: float) -> int:
    """The time to send ``size`` samples."""
    return int(np.ceil(size * sample_us - 1e-6))


@compiled
def wins(table: SplitTable, state: State, worker: int, start_us: int, best: int, best_us: int) -> bool:
    """Whether ``worker`` comes before ``best``, by (start, free since, rank)."""
    if best < 0 or start_us != best_us:
        return best < 0 or start_us < best_us
    if state.free_us[worker] != state.free_us[best]:
        return state.free_us[worker] < state.free_us[best]
    return table.worker_rank[worker] < table.worker_rank[best]


@compiled
def received_us(
    table: SplitTable,
    state: State,
    stage: int,
    before: int,
    pieces: int,
    begin: int,
    end: int,
    host: int,
    held_at_us: int,
) -> int:
    """When ``host`` has the requests ``begin`` to ``end``. With ``held_at_us`` >= 0 the links are held, as of then.

    A host of -1 stands for one whose links are free: no worker has its input sooner.
    """
    last_us, busy_us = 0, 0
    for k in range(pieces):
        low, high = max(begin, state.piece[before, k, 0]), min(end, state.piece[before, k, 1])
        if high <= low:
            continue
        length_us = moved_us(high - low, table.sample_us[stage])
        sender, ended_us = table.worker_host[state.piece[before, k, 2]], state.piece[before, k, 3]
        if host < 0 or sender == host or length_us == 0:
            last_us = max(last_us, ended_us + length_us)
            continue
        sent_us = first_fit(state.uplinks, sender, state.downlinks, host, max(ended_us, busy_us), length_us)
        busy_us = sent_us + length_us
        last_us = max(last_us, busy_us)
        if held_at_us >= 0:
            hold(state.uplinks, sender, held_at_us, sent_us, busy_us)
            hold(state.downlinks, host, held_at_us, sent_us, busy_us)
            row = state.held_transfer[state.number[1]]
            row[0], row[1], row[2], row[3] = sender, host, sent_us, busy_us
            state.number[1] += 1
    return last_us


@compiled
def route(table: SplitTable, state: State, pipeline: int, size: int, now_us: int, is_final: bool) -> int:
    """The finish of a batch of ``size`` that is dispatched now. Its reservations stay if ``is_final``."""
    state.number[:] = 0
    before, pieces_before, finish_us = 0, 0, now_us
    first = table.stage_offsets[pipeline]
    for stage in range(first, table.stage_offsets[pipeline + 1]):
        pieces = -(-size // table.stage_batch[stage])
        here, at, finish_us = 1 - before, 0, 0
        for k in range(pieces):
            own = size // pieces + (1 if k < size % pieces else 0)
            begin, at = at, at + own
            soonest_us = now_us
            if stage > first:
                soonest_us = received_us(table, state, stage, before, pieces_before, begin, at, -1, -1)
            best, best_us = -1, 0
            for worker in range(table.worker_offsets[stage], table.worker_offsets[stage + 1]):
                if not wins(table, state, worker, max(soonest_us, state.free_us[worker]), best, best_us):
                    continue
                input_us = soonest_us
                if stage > first:
                    host = table.worker_host[worker]
                    input_us = received_us(table, state, stage, before, pieces_before, begin, at, host, -1)
                start_us = max(input_us, state.free_us[worker])
                if wins(table, state, worker, start_us, best, best_us):
                    best, best_us = worker, start_us
            if stage > first:
                host = table.worker_host[best]
                received_us(table, state, stage, before, pieces_before, begin, at, host, now_us)
            elif k == 0 or best_us > state.begun_us[0]:
                state.begun_us[0] = best_us
            end_us = best_us + table.latency_us[stage, own]
            row = state.held_worker[state.number[0]]
            row[0], row[1] = best, state.free_us[best]
            state.number[0] += 1
            state.free_us[best] = end_us
            piece = state.piece[here, k]
            piece[0], piece[1], piece[2], piece[3] = begin, at, best, end_us
            finish_us = max(finish_us, end_us)
        before, pieces_before = here, pieces
    if not is_final:
        for k in range(state.number[0] - 1, -1, -1):
            state.free_us[state.held_worker[k, 0]] = state.held_worker[k, 1]
        for k in range(state.number[1] - 1, -1, -1):
            row = state.held_transfer[k]
            release(state.uplinks, row[0], row[2], row[3])
            release(state.downlinks, row[1], row[2], row[3])
    return finish_us


@compiled
def chosen_pipeline(table: SplitTable, state: State, model: int, now_us: int, deadline_us: int) -> int:
    """Of the pipelines that make the deadline, or of all, the one with the least waiting at its planned batch."""
    first, stop = table.pipeline_offsets[model], table.pipeline_offsets[model + 1]
    best, best_late, best_waiting_us = first, 2, 0
    for pipeline in range(first, stop):
        size = table.pipeline_batch[pipeline]
        finish_us = route(table, state, pipeline, size, now_us, False)
        waiting_us = finish_us - now_us - table.work_us[pipeline, size]
        late = 1 if finish_us > deadline_us else 0
        if late < best_late or (late == best_late and waiting_us < best_waiting_us):
            best, best_late, best_waiting_us = pipeline, late, waiting_us
    return best


@compiled
def largest(
    table: SplitTable, state: State, pipeline: int, least: int, most: int, now_us: int, deadline_us: int
) -> int:
    """The largest batch in ``[least, most]`` that meets the deadline; 0 if none."""
    for size in range(most, least - 1, -1):
        if route(table, state, pipeline, size, now_us, False) <= deadline_us:
            return size
    return 0


@compiled
def leaves_us(table: SplitTable, state: State, pipeline: int, count: int, now_us: int) -> int:
    """``now_us`` if a partial batch of ``count`` may leave at once; else when to ask again."""
    waiting_us = route(table, state, pipeline, count, now_us, False) - now_us - table.work_us[pipeline, count]
    waiting_us -= table.rounded_us[pipeline, count]
    if waiting_us > 0:
        first_us = state.begun_us[0]
        return first_us if first_us > now_us else now_us + waiting_us
    stage = table.stage_offsets[pipeline]
    begin, workers = (
        table.worker_offsets[stage],
        table.worker_offsets[stage + 1] - table.worker_offsets[stage],
    )
    looked_at = min(workers, MOST_LOOKED_AT)
    idle, busy, next_us = 0, 0, NEVER_US
    for place in range(looked_at):
        free_us = state.free_us[begin + place * workers // looked_at]
        if free_us <= now_us:
            idle += 1
        else:
            busy += 1
            next_us = min(next_us, free_us)
    return now_us if idle >= busy else next_us


@compiled
def still_possible(
    table: SplitTable, state: State, model: int, count: int, now_us: int, deadline_us: int
) -> tuple[int, int]:
    """A pipeline and a batch that an idle first-stage worker can begin now and end in time. The batch is 0 if none."""
    for pipeline in range(table.pipeline_offsets[model], table.pipeline_offsets[model + 1]):
        stage = table.stage_offsets[pipeline]
        is_idle = False
        for worker in range(table.worker_offsets[stage], table.worker_offsets[stage + 1]):
            is_idle |= state.free_us[worker] <= now_us
        if is_idle:
            size = largest(
                table, state, pipeline, 1, min(count, table.pipeline_batch[pipeline]), now_us, deadline_us
            )
            if size > 0:
                return pipeline, size
    return 0, 0


@compiled
def run(table: SplitTable, state: State, arrival_us: I64, model_of: I64) -> NDArray[np.bool_]:
    """Serve all requests: whether each is missed."""
    models, total = len(table.slo_us), len(arrival_us)
    first, last = np.zeros(models, np.int64), np.zeros(models, np.int64)
    queue, judged = np.zeros((models, total), np.int64), np.zeros(total, np.bool_)
    wake_us, is_missed = np.full(models, NEVER_US), np.ones(total, np.bool_)
    now_us, upcoming = 0, 0
    while True:
        for model in range(models):
            while wake_us[model] <= now_us:
                count = last[model] - first[model]
                if count == 0:
                    wake_us[model] = NEVER_US
                    break
                head = queue[model, first[model]]
                deadline_us = arrival_us[head] + table.slo_us[model]
                pipeline = chosen_pipeline(table, state, model, now_us, deadline_us)
                planned, size = table.pipeline_batch[pipeline], 0
                if not judged[head]:
                    least = max(1, (95 * planned + 50) // 100)
                    judged[head] = largest(table, state, pipeline, least, planned, now_us, deadline_us) > 0
                if judged[head]:
                    if count < planned:
                        later_us = (
                            now_us + deadline_us - route(table, state, pipeline, count + 1, now_us, False)
                        )
                        if later_us > now_us:
                            later_us = min(later_us, leaves_us(table, state, pipeline, count, now_us))
                        if later_us > now_us:
                            wake_us[model] = later_us
                            break
                    size = largest(table, state, pipeline, 1, min(count, planned), now_us, deadline_us)
                if size == 0:
                    pipeline, size = still_possible(table, state, model, count, now_us, deadline_us)
                if size == 0:
                    first[model] += 1
                    continue
                finish_us = route(table, state, pipeline, size, now_us, True)
                for k in range(size):
                    request = queue[model, first[model] + k]
                    is_missed[request] = finish_us > arrival_us[request] + table.slo_us[model]
                first[model] += size
        next_us = arrival_us[upcoming] if upcoming < total else NEVER_US
        now_us = min(next_us, wake_us.min())
        if now_us >= NEVER_US:
            break
        if now_us < wake_us.min():
            model = model_of[upcoming]
            queue[model, last[model]] = upcoming
            last[model] += 1
            upcoming += 1
            wake_us[model] = min(wake_us[model], now_us)
    return is_missed


def split_table(
    table: DispatchTable, pipeline_batch: I64, stage_batch: I64, latency_us: I64, sample_us: F64
) -> SplitTable:
    """``table``, whose batches are those of its stages, with the batches of its pipelines."""
    work_us = np.zeros((len(pipeline_batch), int(pipeline_batch.max()) + 1), np.int64)
    rounded_us = np.zeros_like(work_us)
    for pipeline, batch in enumerate(pipeline_batch.tolist()):
        for size in range(1, batch + 1):
            senders = 1
            for stage in range(table.stage_offsets[pipeline], table.stage_offsets[pipeline + 1]):
                pieces = -(-size // stage_batch[stage])
                work_us[pipeline, size] += latency_us[stage, -(-size // pieces)]
                work_us[pipeline, size] += int(np.ceil(size * sample_us[stage] - 1e-6))
                if sample_us[stage] > 0:
                    rounded_us[pipeline, size] += senders + pieces - 2
                senders = pieces
    return SplitTable(
        slo_us=table.slo_us,
        pipeline_offsets=table.pipeline_offsets,
        stage_offsets=table.stage_offsets,
        worker_offsets=table.worker_offsets,
        pipeline_batch=pipeline_batch,
        stage_batch=stage_batch,
        latency_us=latency_us,
        sample_us=sample_us,
        worker_host=table.worker_host,
        worker_rank=make_facts(table).worker_rank,
        work_us=work_us,
        rounded_us=rounded_us,
    )


def counts(table: SplitTable, arrivals: Arrivals, warm_up_us: int) -> tuple[I64, I64]:
    """Requests missed and requests arrived after the warm-up: (models,) each."""
    hosts, models = int(table.worker_host.max()) + 1, len(table.slo_us)
    state = State(
        free_us=np.zeros(len(table.worker_host), np.int64),
        uplinks=make_links(hosts),
        downlinks=make_links(hosts),
        number=np.zeros(2, np.int64),
        held_worker=np.zeros((64, 2), np.int64),
        held_transfer=np.zeros((256, 4), np.int64),
        piece=np.zeros((2, 16, 4), np.int64),
        begun_us=np.zeros(1, np.int64),
    )
    is_missed = run(table, state, arrivals.arrival_us, arrivals.model)
    counted = arrivals.arrival_us >= warm_up_us
    missed = np.bincount(arrivals.model[counted & is_missed], minlength=models)
    return missed, np.bincount(arrivals.model[counted], minlength=models)
