"""Batches in flight: real completions correct the reservation table.

Each worker's reserved work is a chain of entries in the order it was promised. A completion that
differs from its prediction moves the rest of that worker's chain, then the same batch's later stages
and their workers' chains; its transfers take new spans on the links. Other batches that share those
later workers are corrected when they complete; following them further would cost more than it tells.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import NONE, inner, kernel
from penstock.schedule.link_kernels import first_fit, hold, release
from penstock.schedule.pool_index import set_free
from penstock.schedule.rules import PENSTOCK
from penstock.schedule.state import PACE_OF_PROFILE, Actions, Facts, Flights, PolicyState
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
    first = facts.stage_first[pipeline]
    slot = batch & (len(flights.batch) - 1)
    flights.batch[slot] = batch
    flights.model[slot] = model
    flights.stage_first[slot] = first
    flights.size[slot] = size
    for stage in range(flights.worker.shape[1]):
        flights.worker[slot, stage] = -1
    for stage in range(facts.stage_first[pipeline + 1] - first):
        worker = actions.worker[row, stage]
        flights.worker[slot, stage] = worker
        flights.transfer_us[slot, stage] = facts.transfer_us[first + stage, size]
        flights.ready_us[slot, stage] = actions.ready_us[row, stage]
        flights.work_us[slot, stage] = actions.end_us[row, stage] - actions.start_us[row, stage]
        flights.end_us[slot, stage] = actions.end_us[row, stage]
        flights.following[slot, stage] = -1
        _append(flights, worker, batch * flights.worker.shape[1] + stage)


@inner
def complete(state: PolicyState, now_us: int, batch: int, stage: int) -> None:
    """``batch`` finished ``stage`` at ``now_us``: correct what is promised after it.

    Earlier stages of which no completion came are over too: messages of different workers may overtake
    each other, and the late one is then ignored.
    """
    flights = state.flights
    slot = batch & (len(flights.batch) - 1)
    if flights.batch[slot] != batch or flights.worker[slot, stage] < 0:
        return
    for earlier in range(stage):
        if flights.worker[slot, earlier] >= 0:
            _close(state, now_us, slot, earlier)
    sender = flights.worker[slot, stage]
    if state.rule[0] == PENSTOCK:
        _learn_pace(state, now_us, slot, stage)
    late_us = _close(state, now_us, slot, stage)
    if stage + 1 == flights.worker.shape[1] or flights.worker[slot, stage + 1] < 0:
        flights.batch[slot] = NONE
    elif late_us != 0:
        _move_later_stages(state, now_us, slot, stage, sender)


@inner
def _close(state: PolicyState, now_us: int, slot: int, stage: int) -> int:
    """Take a finished entry out of its worker's chain; returns how late it was."""
    flights = state.flights
    worker = flights.worker[slot, stage]
    _unlink(flights, worker, flights.batch[slot] * flights.worker.shape[1] + stage)
    flights.worker[slot, stage] = NONE
    flights.done_us[worker] = now_us
    late_us = now_us - flights.end_us[slot, stage]
    if late_us != 0:
        _rechain(state, worker)
        wake_us = state.queues.wake_us
        wake_us[flights.model[slot]] = min(wake_us[flights.model[slot]], now_us)
    return late_us


@inner
def _learn_pace(state: PolicyState, now_us: int, slot: int, stage: int) -> None:
    """Let a real service move the pace of its stage by a 64th of the difference.

    Some hundred batches until a change is known, and a tenth of the scatter of a single one. A service counts as
    a quarter to four times the profile's, so that a worker that hangs does not close its stage for good.
    """
    flights, pace = state.flights, state.reservations.pace
    at = flights.stage_first[slot] + stage
    profiled_us = state.facts.latency_us[at, flights.size[slot]]
    worker = flights.worker[slot, stage]
    if flights.head[worker] != flights.batch[slot] * flights.worker.shape[1] + stage:
        # Something promised before it is not known to be over: when it started is unknown.
        return
    served_us = now_us - max(flights.ready_us[slot, stage], flights.done_us[worker])
    counted_us = min(max(served_us, profiled_us // 4), 4 * profiled_us)
    pace[at] += (PACE_OF_PROFILE * counted_us // max(1, profiled_us) - pace[at]) // 64


@inner
def _move_later_stages(state: PolicyState, now_us: int, slot: int, stage: int, sender: int) -> None:
    """Predict the later stages of the batch in ``slot`` anew, from the completion of ``stage`` at ``now_us``."""
    flights = state.flights
    ended_us = now_us
    for later in range(stage + 1, flights.worker.shape[1]):
        receiver = flights.worker[slot, later]
        if receiver < 0:
            return
        _move_transfer(state, now_us, slot, later, sender, ended_us)
        before_us = flights.end_us[slot, later]
        _rechain(state, receiver)
        ended_us = flights.end_us[slot, later]
        if ended_us == before_us:
            return
        sender = receiver


@inner
def _move_transfer(
    state: PolicyState, now_us: int, slot: int, stage: int, sender: int, ended_us: int
) -> None:
    """Give the input of ``stage`` the first span on its links after ``ended_us``, for the span it had."""
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
def abandon(state: PolicyState, now_us: int, batch: int) -> None:
    """Forget ``batch``: its entries leave the chains of the workers it had still to visit, and its links.

    A transfer under way when it is abandoned keeps its span: its sender is no longer known.
    """
    flights = state.flights
    slot = batch & (len(flights.batch) - 1)
    if flights.batch[slot] != batch:
        return
    sender = NONE
    for stage in range(flights.worker.shape[1]):
        worker = flights.worker[slot, stage]
        if worker >= 0:
            if sender >= 0 and state.facts.worker_host[sender] != state.facts.worker_host[worker]:
                source, target = state.facts.worker_host[sender], state.facts.worker_host[worker]
                _free_transfer(state, slot, stage, source, target)
            sender = worker
            entry = batch * flights.worker.shape[1] + stage
            if flights.head[worker] == entry:
                # It may have been running: what follows it cannot have started yet.
                flights.done_us[worker] = max(flights.done_us[worker], now_us)
            _unlink(flights, worker, entry)
            flights.worker[slot, stage] = -1
            _rechain(state, worker)
    flights.batch[slot] = -1
    state.queues.wake_us[flights.model[slot]] = 0


@inner
def worker_down(state: PolicyState, now_us: int, worker: int) -> None:
    """Abandon every batch that holds time on ``worker``, and promise it no more."""
    flights = state.flights
    while flights.head[worker] >= 0:
        abandon(state, now_us, flights.head[worker] // flights.worker.shape[1])
    set_free(state.facts, state.reservations, worker, NEVER_US)


@inner
def worker_up(state: PolicyState, now_us: int, worker: int) -> None:
    """``worker`` is idle from ``now_us``."""
    state.flights.done_us[worker] = now_us
    set_free(state.facts, state.reservations, worker, now_us)


@inner
def _rechain(state: PolicyState, worker: int) -> None:
    """Predict the worker's chain anew from its last real completion."""
    flights = state.flights
    slots, stages = flights.worker.shape
    free_us = flights.done_us[worker]
    entry = flights.head[worker]
    while entry >= 0:
        slot, stage = (entry // stages) & (slots - 1), entry % stages
        free_us = max(free_us, flights.ready_us[slot, stage]) + flights.work_us[slot, stage]
        flights.end_us[slot, stage] = free_us
        entry = flights.following[slot, stage]
    # A worker that is down stays so until worker_up.
    if state.reservations.worker_free_us[worker] < NEVER_US:
        set_free(state.facts, state.reservations, worker, free_us)


@inner
def _append(flights: Flights, worker: int, entry: int) -> None:
    slots, stages = flights.worker.shape
    last = flights.tail[worker]
    if last < 0:
        flights.head[worker] = entry
    else:
        flights.following[(last // stages) & (slots - 1), last % stages] = entry
    flights.tail[worker] = entry


@inner
def _unlink(flights: Flights, worker: int, entry: int) -> None:
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
