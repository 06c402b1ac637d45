"""The event loop of stage-wise policies: pools that make their own batches, and the network between them.

Events are ordered by (time, priority, sequence): batches that end a stage or reach the next pool first, then
wake-ups, then requests. A batch that ends a stage waits for the uplink of its worker's host, and for the downlink of
the receiving site's host if that is modelled; links serve batches in the order in which they ended. Its requests then
join the queue of the site, by deadline. If an array is full, the kernel returns; it goes on when it is called with a
larger one.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math

from penstock.arrays import I64
from penstock.record import Outcome
from penstock.schedule.kernel import inner, kernel
from penstock.schedule.mechanism.link_kernels import first_fit, fit, hold
from penstock.schedule.mechanism.queue_kernels import is_full, pop_head, push
from penstock.schedule.rules.reactive import ReactiveFacts
from penstock.schedule.rules.reactive_kernels import (
    DROP_EARLY,
    WAIT,
    choose_pipeline,
    choose_site,
    step,
)
from penstock.simulate.routed.heap import heap_drop_first, heap_push
from penstock.simulate.stagewise.pool_state import PoolState, PoolWorld, Slots, TransferLog
from penstock.simulate.world import BatchLog, RequestLog
from penstock.units import NEVER_US

MORE, LOG_FULL, QUEUE_FULL, FLIGHTS_FULL = 0, 1, 2, 3
NOW, NEXT, HEAP_SIZE, SEQUENCE, BATCH, FREE_SLOTS = 0, 1, 2, 3, 4, 5
"""Places in the cursor."""
_ENDED, _RECEIVED = 0, 1
_MET, _LATE = int(Outcome.MET), int(Outcome.LATE)
_EARLY, _DEADLINE = int(Outcome.DROPPED_EARLY), int(Outcome.DROPPED_DEADLINE)


@kernel
def run(
    facts: ReactiveFacts,
    world: PoolWorld,
    state: PoolState,
    slots: Slots,
    requests: RequestLog,
    last: bool,
    cursor: I64,
    log: BatchLog,
    transfers: TransferLog,
    recorded: bool,
) -> int:
    """Process the events up to the last request, and those after it if this is the ``last`` chunk of requests."""
    while True:
        status = _decide(facts, world, state, slots, requests, cursor, log, recorded)
        if status != MORE:
            return status
        next_us = NEVER_US
        if cursor[NEXT] < len(requests.arrival_us):
            next_us = requests.arrival_us[cursor[NEXT]]
        elif not last:
            return MORE
        wake_us = _earliest(state.queues.wake_us)
        event_us = slots.heap[0, 0] if cursor[HEAP_SIZE] > 0 else NEVER_US
        now_us = min(next_us, wake_us, event_us)
        if now_us >= NEVER_US:
            return MORE
        if now_us == event_us:
            status = _event(facts, world, state, slots, requests, cursor, transfers, recorded)
        elif now_us < wake_us:
            status = _arrive(facts, world, state, requests, cursor)
        if status != MORE:
            return status
        cursor[NOW] = now_us


@inner
def _earliest(times_us: I64) -> int:
    earliest_us = NEVER_US
    for at in range(len(times_us)):
        earliest_us = min(earliest_us, times_us[at])
    return earliest_us


@inner
def _arrive(
    facts: ReactiveFacts, world: PoolWorld, state: PoolState, requests: RequestLog, cursor: I64
) -> int:
    """Queue the next request at the first pool of a pipeline."""
    request = cursor[NEXT]
    pipeline = choose_pipeline(facts, state.sent, requests.model[request])
    stage = facts.stage_offsets[pipeline]
    site = choose_site(
        state.load, world.site_workers, world.site_offsets[stage], world.site_offsets[stage + 1]
    )
    if is_full(state.queues, site):
        return QUEUE_FULL
    push(state.queues, requests.arrival_us[request], site, request, requests.deadline_us[request])
    state.sent[pipeline] += 1
    state.load[site] += 1
    cursor[NEXT] += 1
    return MORE


@inner
def _decide(
    facts: ReactiveFacts,
    world: PoolWorld,
    state: PoolState,
    slots: Slots,
    requests: RequestLog,
    cursor: I64,
    log: BatchLog,
    recorded: bool,
) -> int:
    """Every decision due now, put into effect."""
    now_us, queues = cursor[NOW], state.queues
    for site in range(len(queues.wake_us)):
        while queues.wake_us[site] <= now_us:
            if cursor[FREE_SLOTS] == 0:
                return FLIGHTS_FULL
            if recorded and cursor[BATCH] == len(log.size):
                return LOG_FULL
            size = step(facts, queues, site, world.site_stage[site], state.idle_count[site], now_us)
            if size > 0:
                _dispatch(facts, world, state, slots, site, size, cursor, log, recorded)
            elif size != WAIT:
                cause = _EARLY if size == DROP_EARLY else _DEADLINE
                request = pop_head(queues, site)
                state.load[site] -= 1
                state.counts[cause] += 1
                if recorded:
                    requests.outcome[request] = cause
    return MORE


@inner
def _dispatch(
    facts: ReactiveFacts,
    world: PoolWorld,
    state: PoolState,
    slots: Slots,
    site: int,
    size: int,
    cursor: I64,
    log: BatchLog,
    recorded: bool,
) -> None:
    """Run the first ``size`` requests of the site on its worker that has been idle longest."""
    now_us, stage, batch = cursor[NOW], world.site_stage[site], cursor[BATCH]
    cursor[BATCH] += 1
    worker = _take_idle(state, site)
    cursor[FREE_SLOTS] -= 1
    slot = slots.free[cursor[FREE_SLOTS]]
    slots.batch[slot], slots.stage[slot], slots.worker[slot] = batch, stage, worker
    slots.site[slot], slots.size[slot] = site, size
    for index in range(size):
        slots.deadline_us[slot, index] = state.queues.deadline_us[site, state.queues.first[site]]
        slots.request[slot, index] = pop_head(state.queues, site)
    column = stage - facts.stage_offsets[world.pipeline_of[stage]]
    work_us = facts.latency_us[stage, size]
    if world.sigma[stage, size] > 0.0:
        factor = math.exp(world.sigma[stage, size] * log.normal[batch, column])
        work_us = max(1, math.floor(work_us * factor + 0.5))
    start_us = now_us + world.dispatch_us
    state.busy_us[stage] += work_us
    _expect(slots, cursor, start_us + work_us, slot, _ENDED)
    if recorded:
        pipeline = world.pipeline_of[stage]
        log.model[batch], log.pipeline[batch], log.size[batch] = world.model_of[pipeline], pipeline, size
        log.worker[batch, column], log.queued_us[batch, column] = worker, now_us
        log.start_us[batch, column], log.end_us[batch, column] = start_us, start_us + work_us
        log.transfer_us[batch, column] = world.transfer_us[stage, size]


@inner
def _event(
    facts: ReactiveFacts,
    world: PoolWorld,
    state: PoolState,
    slots: Slots,
    requests: RequestLog,
    cursor: I64,
    transfers: TransferLog,
    recorded: bool,
) -> int:
    """The first event of the heap: a batch ended its stage, or reached the next."""
    now_us, slot, kind = slots.heap[0, 0], slots.heap[0, 2], slots.heap[0, 3]
    site, size = slots.site[slot], slots.size[slot]
    if kind == _RECEIVED:
        # Room first: the event stays where it is until there is some.
        if state.queues.length[site] + size > state.queues.request.shape[1]:
            return QUEUE_FULL
        for index in range(size):
            push(state.queues, now_us, site, slots.request[slot, index], slots.deadline_us[slot, index])
    heap_drop_first(slots.heap, cursor[HEAP_SIZE])
    cursor[HEAP_SIZE] -= 1
    if kind == _ENDED:
        _put_idle(state, site, slots.worker[slot])
        state.queues.wake_us[site] = now_us
        state.load[site] -= size
        stage = slots.stage[slot] + 1
        pipeline = world.pipeline_of[stage - 1]
        if stage < facts.stage_offsets[pipeline + 1]:
            received_us = _send(world, state, slots, slot, stage, now_us, transfers, recorded)
            _expect(slots, cursor, received_us, slot, _RECEIVED)
            return MORE
        _answer(state, slots, slot, pipeline, now_us + world.overhead_us, requests, recorded)
    slots.free[cursor[FREE_SLOTS]] = slot
    cursor[FREE_SLOTS] += 1
    return MORE


@inner
def _send(
    world: PoolWorld,
    state: PoolState,
    slots: Slots,
    slot: int,
    stage: int,
    now_us: int,
    transfers: TransferLog,
    recorded: bool,
) -> int:
    """Send the batch in ``slot`` to a site of ``stage``; returns when it arrives."""
    size, uplink = slots.size[slot], world.uplink[slots.worker[slot]]
    site = choose_site(
        state.load, world.site_workers, world.site_offsets[stage], world.site_offsets[stage + 1]
    )
    state.load[site] += size
    slots.site[slot] = site
    transfer_us, downlink = world.transfer_us[stage, size], world.downlink[site]
    sent_us = now_us
    # Links of a host have its number, and within a host nothing crosses them.
    if transfer_us > 0 and uplink != downlink:
        if downlink < 0:
            sent_us = fit(state.uplinks, uplink, now_us, transfer_us)
        else:
            sent_us = first_fit(state.uplinks, uplink, state.downlinks, downlink, now_us, transfer_us)
            hold(state.downlinks, downlink, now_us, sent_us, sent_us + transfer_us)
        hold(state.uplinks, uplink, now_us, sent_us, sent_us + transfer_us)
        if recorded:
            batch = slots.batch[slot]
            transfers.uplink[batch], transfers.downlink[batch] = uplink, downlink
            transfers.sent_us[batch], transfers.received_us[batch] = sent_us, sent_us + transfer_us
    return sent_us + transfer_us


@inner
def _answer(
    state: PoolState,
    slots: Slots,
    slot: int,
    pipeline: int,
    finish_us: int,
    requests: RequestLog,
    recorded: bool,
) -> None:
    for index in range(slots.size[slot]):
        outcome = _LATE if finish_us > slots.deadline_us[slot, index] else _MET
        state.counts[outcome] += 1
        if recorded:
            request = slots.request[slot, index]
            requests.pipeline[request] = pipeline
            requests.batch[request] = slots.batch[slot]
            requests.finish_us[request] = finish_us
            requests.outcome[request] = outcome


@inner
def _expect(slots: Slots, cursor: I64, time_us: int, slot: int, kind: int) -> None:
    heap_push(slots.heap, cursor[HEAP_SIZE], time_us, cursor[SEQUENCE], slot, kind)
    cursor[HEAP_SIZE] += 1
    cursor[SEQUENCE] += 1


@inner
def _take_idle(state: PoolState, site: int) -> int:
    first = state.idle_first[site]
    worker = state.idle[site, first]
    state.idle_first[site] = first + 1 if first + 1 < state.idle.shape[1] else 0
    state.idle_count[site] -= 1
    return worker


@inner
def _put_idle(state: PoolState, site: int, worker: int) -> None:
    place = state.idle_first[site] + state.idle_count[site]
    state.idle[site, place if place < state.idle.shape[1] else place - state.idle.shape[1]] = worker
    state.idle_count[site] += 1
