"""Batches in flight: real completions correct the reservation table.

The reserved work of a worker is a chain of entries, in the order in which it was promised. If a batch completes
earlier or later than predicted, the rest of that worker's chain moves, then the later stages of the same batch and
the chains of their workers; its transfers get new spans on the links. Other batches on those later workers are
corrected when they complete themselves: to follow them further takes longer and changes few decisions.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import NONE, inner, kernel
from penstock.schedule.mechanism.link_kernels import first_fit, hold, release
from penstock.schedule.mechanism.pool_tournament import set_free
from penstock.schedule.rule_numbers import PENSTOCK
from penstock.schedule.state.arrays import PACE_OF_PROFILE, Actions, Facts, Flights, PolicyState
from penstock.units import NEVER_US


@kernel
def has_room(flights: Flights, batch: int) -> bool:
    """Whether the slot of ``batch`` is free."""
    return flights.batch[batch & (len(flights.batch) - 1)] < 0


@inner
def track(facts: Facts, flights: Flights, actions: Actions, row: int) -> None:
    """Append the batch dispatched in ``row`` to the chain of each worker of its route."""
    model, pipeline, batch, size = (
        actions.head[row, 1],
        actions.head[row, 2],
        actions.head[row, 3],
        actions.head[row, 4],
    )
    first = facts.stage_offsets[pipeline]
    slot = batch & (len(flights.batch) - 1)
    flights.batch[slot] = batch
    flights.model[slot] = model
    flights.first_stage[slot] = first
    flights.size[slot] = size
    flights.sender[slot] = NONE
    for stage in range(flights.worker.shape[1]):
        flights.worker[slot, stage] = -1
    for stage in range(facts.stage_offsets[pipeline + 1] - first):
        worker = actions.worker[row, stage]
        flights.worker[slot, stage] = worker
        flights.transfer_us[slot, stage] = facts.transfer_us[first + stage, size]
        flights.ready_us[slot, stage] = actions.ready_us[row, stage]
        flights.work_us[slot, stage] = actions.end_us[row, stage] - actions.start_us[row, stage]
        flights.end_us[slot, stage] = actions.end_us[row, stage]
        flights.following[slot, stage] = -1
        append(flights, worker, batch * flights.worker.shape[1] + stage)


@inner
def complete(state: PolicyState, now_us: int, batch: int, stage: int) -> None:
    """``batch`` finished ``stage`` at ``now_us``: correct what is promised after it.

    Earlier stages are then over too, even if their completions were not reported yet: messages of different workers
    may overtake each other. Those late messages are ignored.
    """
    flights = state.flights
    slot = batch & (len(flights.batch) - 1)
    if flights.batch[slot] != batch or flights.worker[slot, stage] < 0:
        return
    for earlier in range(stage):
        if flights.worker[slot, earlier] >= 0:
            close_entry(state, now_us, slot, earlier)
    if state.rule[0] == PENSTOCK:
        learn_pace(state, now_us, slot, stage, flights.first_stage[slot] + stage, flights.size[slot])
    late_us = close_entry(state, now_us, slot, stage)
    if stage + 1 == flights.worker.shape[1] or flights.worker[slot, stage + 1] < 0:
        flights.batch[slot] = NONE
    elif late_us != 0:
        _move_later_stages(state, now_us, slot, stage)


@inner
def close_entry(state: PolicyState, now_us: int, slot: int, stage: int) -> int:
    """Take a finished entry out of its worker's chain; returns by how much it was later than predicted."""
    flights = state.flights
    worker = flights.worker[slot, stage]
    entry = flights.batch[slot] * flights.worker.shape[1] + stage
    was_first = flights.head[worker] == entry
    unlink(flights, worker, entry)
    flights.worker[slot, stage] = NONE
    flights.sender[slot] = worker
    flights.done_us[worker] = now_us
    late_us = now_us - flights.end_us[slot, stage]
    if late_us != 0 or not was_first:
        # Else the chain behind it already starts from this moment.
        rechain(state, worker)
    if late_us != 0:
        wake_us = state.queues.wake_us
        wake_us[flights.model[slot]] = min(wake_us[flights.model[slot]], now_us)
    return late_us


@inner
def learn_pace(state: PolicyState, now_us: int, slot: int, column: int, at: int, size: int) -> None:
    """Move the pace of stage ``at`` by a 64th of the difference to what this service, of ``size`` requests, took.

    The pace follows a change within some hundred batches, and scatters a tenth as much as a single service. A service
    counts as at least a quarter and at most four times the profile's time, so that a worker that hangs does not make
    the policy give up its stage for ever.
    """
    flights, pace = state.flights, state.reservations.pace
    profiled_us = state.facts.latency_us[at, size]
    worker = flights.worker[slot, column]
    if flights.head[worker] != flights.batch[slot] * flights.worker.shape[1] + column:
        # A batch promised before this one is not reported yet, so we do not know when this one started.
        return
    served_us = now_us - max(flights.ready_us[slot, column], flights.done_us[worker])
    counted_us = min(max(served_us, profiled_us // 4), 4 * profiled_us)
    pace[at] += (PACE_OF_PROFILE * counted_us // max(1, profiled_us) - pace[at]) // 64


@inner
def _move_later_stages(state: PolicyState, now_us: int, slot: int, stage: int) -> None:
    """Predict the later stages of the batch in ``slot`` again, from the completion of ``stage`` at ``now_us``."""
    flights = state.flights
    sender = flights.sender[slot]
    ended_us = now_us
    for later in range(stage + 1, flights.worker.shape[1]):
        receiver = flights.worker[slot, later]
        if receiver < 0:
            return
        _move_transfer(state, now_us, slot, later, sender, ended_us)
        before_us = flights.end_us[slot, later]
        rechain(state, receiver)
        ended_us = flights.end_us[slot, later]
        if ended_us == before_us:
            return
        sender = receiver


@inner
def _move_transfer(
    state: PolicyState, now_us: int, slot: int, stage: int, sender: int, ended_us: int
) -> None:
    """Exchange the span of the input of ``stage`` for the first one after ``ended_us`` that is free on both links."""
    flights, held = state.flights, state.reservations
    transfer_us = flights.transfer_us[slot, stage]
    source = state.facts.worker_host[sender]
    target = state.facts.worker_host[flights.worker[slot, stage]]
    sent_us = ended_us
    if source != target:
        _free_transfer(state, slot, stage, source, target)
        sent_us = first_fit(held.uplinks, source, held.downlinks, target, ended_us, transfer_us)
        hold(held.uplinks, source, now_us, sent_us, sent_us + transfer_us)
        hold(held.downlinks, target, now_us, sent_us, sent_us + transfer_us)
    flights.ready_us[slot, stage] = sent_us + transfer_us


@inner
def _free_transfer(state: PolicyState, slot: int, stage: int, source: int, target: int) -> None:
    arrival_us = state.flights.ready_us[slot, stage]
    sent_us = arrival_us - state.flights.transfer_us[slot, stage]
    release(state.reservations.uplinks, source, sent_us, arrival_us)
    release(state.reservations.downlinks, target, sent_us, arrival_us)


@inner
def abandon(state: PolicyState, now_us: int, batch: int) -> bool:
    """Forget ``batch``: its entries leave the chains of the workers that it had still to visit, and its links.

    A transfer that has begun keeps its span: its bytes are on the link. False if ``batch`` is not in flight.
    """
    flights, worker_host = state.flights, state.facts.worker_host
    slot = batch & (len(flights.batch) - 1)
    if flights.batch[slot] != batch:
        return False
    sender = flights.sender[slot]
    for stage in range(flights.worker.shape[1]):
        worker = flights.worker[slot, stage]
        if worker >= 0:
            begins_us = flights.ready_us[slot, stage] - flights.transfer_us[slot, stage]
            if sender >= 0 and worker_host[sender] != worker_host[worker] and begins_us >= now_us:
                _free_transfer(state, slot, stage, worker_host[sender], worker_host[worker])
            sender = worker
            abandon_entry(state, now_us, slot, stage)
    flights.batch[slot] = -1
    state.queues.wake_us[flights.model[slot]] = 0
    return True


@inner
def abandon_entry(state: PolicyState, now_us: int, slot: int, stage: int) -> None:
    """Take an entry that will not be done out of its worker's chain."""
    flights = state.flights
    worker = flights.worker[slot, stage]
    entry = flights.batch[slot] * flights.worker.shape[1] + stage
    if flights.head[worker] == entry:
        # It may have been running, so the work behind it cannot have started yet.
        flights.done_us[worker] = max(flights.done_us[worker], now_us)
    unlink(flights, worker, entry)
    flights.worker[slot, stage] = -1
    rechain(state, worker)


@inner
def worker_down(state: PolicyState, worker: int) -> None:
    """Promise no more work to ``worker``. Its batches must be abandoned already."""
    set_free(state.facts, state.reservations, worker, NEVER_US)


@inner
def worker_up(state: PolicyState, now_us: int, worker: int) -> None:
    """``worker`` is idle from ``now_us``; nothing changes if it is up already."""
    if state.reservations.worker_free_us[worker] == NEVER_US:
        state.flights.done_us[worker] = now_us
        set_free(state.facts, state.reservations, worker, now_us)


@inner
def rechain(state: PolicyState, worker: int) -> None:
    """Predict the worker's chain again from its last real completion."""
    flights = state.flights
    slots, stages = flights.worker.shape
    free_us = flights.done_us[worker]
    entry = flights.head[worker]
    while entry >= 0:
        slot, stage = (entry // stages) & (slots - 1), entry % stages
        free_us = max(free_us, flights.ready_us[slot, stage]) + flights.work_us[slot, stage]
        flights.end_us[slot, stage] = free_us
        entry = flights.following[slot, stage]
    # A worker that is down stays down until worker_up.
    if state.reservations.worker_free_us[worker] < NEVER_US:
        set_free(state.facts, state.reservations, worker, free_us)


@inner
def append(flights: Flights, worker: int, entry: int) -> None:
    """Add ``entry`` to the end of the worker's chain."""
    slots, stages = flights.worker.shape
    last = flights.tail[worker]
    if last < 0:
        flights.head[worker] = entry
    else:
        flights.following[(last // stages) & (slots - 1), last % stages] = entry
    flights.tail[worker] = entry


@inner
def unlink(flights: Flights, worker: int, entry: int) -> None:
    """Take ``entry`` out of the worker's chain; it is nearly always the head."""
    slots, stages = flights.worker.shape
    before = -1
    current = flights.head[worker]
    while current != entry:
        before = current
        current = flights.following[(current // stages) & (slots - 1), current % stages]
    after = flights.following[(entry // stages) & (slots - 1), entry % stages]
    if before < 0:
        flights.head[worker] = after
    else:
        flights.following[(before // stages) & (slots - 1), before % stages] = after
    if flights.tail[worker] == entry:
        flights.tail[worker] = before
