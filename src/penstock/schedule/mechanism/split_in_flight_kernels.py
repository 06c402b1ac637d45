"""Batches in flight in a fleet with split stages: real completions of pieces correct the reservation table.

As :mod:`penstock.schedule.mechanism.in_flight_kernels`, with an entry for each piece of a batch (a *column*). A piece
is moved if one of those that it gets rows from ended earlier or later than predicted. The transfers from these get new
spans, and those that its worker was to receive after them, if they have not begun.
"""

# mypy: disable-error-code="no-any-return, union-attr"

from __future__ import annotations

from penstock.schedule.kernel import NONE, ZERO, inner
from penstock.schedule.mechanism.in_flight_kernels import (
    abandon_entry,
    append,
    close_entry,
    learn_pace,
    rechain,
)
from penstock.schedule.mechanism.link_kernels import first_fit, hold, release
from penstock.schedule.mechanism.split_route_kernels import first_row, pieces_of, rows_within, split_columns
from penstock.schedule.rule_numbers import PENSTOCK
from penstock.schedule.state.arrays import Actions, Facts, Flights, PolicyState


@inner
def split_track(facts: Facts, flights: Flights, actions: Actions, row: int) -> None:
    """Append the batch dispatched in ``row`` to the chain of the worker of each of its pieces."""
    pipeline, batch, size = actions.head[row, 2], actions.head[row, 3], actions.head[row, 4]
    slot = batch & (len(flights.batch) - 1)
    flights.batch[slot] = batch
    flights.model[slot] = actions.head[row, 1]
    flights.first_stage[slot] = facts.stage_offsets[pipeline]
    flights.size[slot] = size
    for column in range(flights.worker.shape[1]):
        flights.worker[slot, column] = -1
        flights.done_by[slot, column] = -1
    for column in range(split_columns(facts, pipeline, size)):
        worker = actions.worker[row, column]
        flights.worker[slot, column] = worker
        flights.ready_us[slot, column] = actions.ready_us[row, column]
        flights.work_us[slot, column] = actions.end_us[row, column] - actions.start_us[row, column]
        flights.end_us[slot, column] = actions.end_us[row, column]
        flights.following[slot, column] = -1
        append(flights, worker, batch * flights.worker.shape[1] + column)
    for place in range(facts.split.found[1]):
        flights.sent_us[slot, place] = facts.split.sent[place, 2]


@inner
def split_complete(state: PolicyState, now_us: int, batch: int, column: int) -> None:
    """The piece of ``batch`` in ``column`` ended at ``now_us``: correct what is promised after it.

    The pieces before it that have some of its rows are then over too.
    """
    facts, flights = state.facts, state.flights
    slot = batch & (len(flights.batch) - 1)
    if flights.batch[slot] != batch or flights.worker[slot, column] < 0:
        return
    changed = facts.split.changed
    for other in range(len(changed)):
        changed[other] = 0
    first, size = flights.first_stage[slot], flights.size[slot]
    last = _last_stage(facts, first)
    # The stage of the column, and the first column of each stage on the way back to the first.
    stage, begin = first, ZERO
    while column >= begin + pieces_of(facts, stage, size):
        begin += pieces_of(facts, stage, size)
        stage += 1
    pieces = pieces_of(facts, stage, size)
    low, high = first_row(size, pieces, column - begin), first_row(size, pieces, column - begin + 1)
    rows = high - low
    earlier, end = stage, begin
    while earlier > first:
        earlier -= 1
        pieces = pieces_of(facts, earlier, size)
        end -= pieces
        low, high = _close_earlier(state, now_us, slot, end, pieces, low, high)
    if state.rule[0] == PENSTOCK:
        learn_pace(state, now_us, slot, column, stage, rows)
    _close(state, now_us, slot, column)
    _move_later_pieces(state, now_us, slot, first, last)
    _let_go_of_senders(state, slot, first, last)
    for other in range(flights.worker.shape[1]):
        if flights.worker[slot, other] >= 0:
            return
    flights.batch[slot] = NONE


@inner
def _close_earlier(
    state: PolicyState, now_us: int, slot: int, begin: int, pieces: int, low: int, high: int
) -> tuple[int, int]:
    """Close the pieces of one stage that have some of rows ``low`` to ``high``; returns the rows that they have."""
    flights, size = state.flights, state.flights.size[slot]
    least, most = low, high
    for piece in range(pieces):
        if rows_within(low, high, size, pieces, piece) > 0:
            least = min(least, first_row(size, pieces, piece))
            most = max(most, first_row(size, pieces, piece + 1))
            if flights.worker[slot, begin + piece] >= 0:
                _close(state, now_us, slot, begin + piece)
    return least, most


@inner
def _close(state: PolicyState, now_us: int, slot: int, column: int) -> None:
    """Take a finished piece out of its worker's chain; note who did it, and whether it was late or early."""
    flights = state.flights
    worker = flights.worker[slot, column]
    late_us = close_entry(state, now_us, slot, column)
    flights.sender[slot] = NONE
    flights.done_by[slot, column] = worker
    flights.end_us[slot, column] = now_us
    if late_us != 0:
        state.facts.split.changed[column] = 1


@inner
def _last_stage(facts: Facts, first: int) -> int:
    """The last stage of the pipeline that begins with stage ``first``."""
    pipeline = ZERO
    while facts.stage_offsets[pipeline] != first:
        pipeline += 1
    return facts.stage_offsets[pipeline + 1] - 1


@inner
def _move_later_pieces(state: PolicyState, now_us: int, slot: int, first: int, last: int) -> None:
    """Predict again every piece that gets rows of one that has changed, stage by stage."""
    facts, flights, changed = state.facts, state.flights, state.facts.split.changed
    size = flights.size[slot]
    before, place = ZERO, ZERO
    for stage in range(first + 1, last + 1):
        senders, receivers = pieces_of(facts, stage - 1, size), pieces_of(facts, stage, size)
        begin = before + senders
        for piece in range(receivers):
            column = begin + piece
            low, high = first_row(size, receivers, piece), first_row(size, receivers, piece + 1)
            receiver = flights.worker[slot, column]
            is_moved, ready_us, busy_us = False, ZERO, ZERO
            for sender in range(senders):
                rows = rows_within(low, high, size, senders, sender)
                if rows <= 0:
                    continue
                length_us = facts.transfer_us[stage, rows]
                is_waiting = is_moved and flights.sent_us[slot, place] >= now_us
                if receiver >= 0 and (is_waiting or changed[before + sender] == 1):
                    is_moved = True
                    _move_transfer(state, now_us, slot, before + sender, receiver, place, length_us, busy_us)
                ended_us = flights.sent_us[slot, place] + length_us
                ready_us = max(ready_us, ended_us)
                if receiver >= 0 and length_us > 0 and _hosts_differ(state, slot, before + sender, receiver):
                    busy_us = ended_us
                place += 1
            if is_moved:
                flights.ready_us[slot, column] = ready_us
                before_us = flights.end_us[slot, column]
                rechain(state, receiver)
                if flights.end_us[slot, column] != before_us:
                    changed[column] = 1
        before = begin


@inner
def _sender_of(flights: Flights, slot: int, column: int) -> int:
    """The worker of a piece, whether it is over or not."""
    return max(flights.worker[slot, column], flights.done_by[slot, column])


@inner
def _hosts_differ(state: PolicyState, slot: int, column: int, receiver: int) -> bool:
    sender = _sender_of(state.flights, slot, column)
    return state.facts.worker_host[sender] != state.facts.worker_host[receiver]


@inner
def _move_transfer(
    state: PolicyState,
    now_us: int,
    slot: int,
    column: int,
    receiver: int,
    place: int,
    length_us: int,
    busy_us: int,
) -> None:
    """Exchange the span of transfer ``place``, from the piece in ``column``, for the first one that is free now."""
    flights, held = state.flights, state.reservations
    source = state.facts.worker_host[_sender_of(flights, slot, column)]
    target = state.facts.worker_host[receiver]
    sent_us = flights.end_us[slot, column]
    if source != target and length_us > 0:
        old_us = flights.sent_us[slot, place]
        release(held.uplinks, source, old_us, old_us + length_us)
        release(held.downlinks, target, old_us, old_us + length_us)
        sent_us = first_fit(held.uplinks, source, held.downlinks, target, max(sent_us, busy_us), length_us)
        hold(held.uplinks, source, now_us, sent_us, sent_us + length_us)
        hold(held.downlinks, target, now_us, sent_us, sent_us + length_us)
    flights.sent_us[slot, place] = sent_us


@inner
def _let_go_of_senders(state: PolicyState, slot: int, first: int, last: int) -> None:
    """Forget who did a piece once all that get rows of it are over; those of the last stage go at once."""
    facts, flights = state.facts, state.flights
    size, before = flights.size[slot], ZERO
    for stage in range(first, last + 1):
        senders = pieces_of(facts, stage, size)
        for sender in range(senders):
            low, high = first_row(size, senders, sender), first_row(size, senders, sender + 1)
            is_needed = False
            if stage < last:
                receivers = pieces_of(facts, stage + 1, size)
                for piece in range(receivers):
                    if rows_within(low, high, size, receivers, piece) > 0:
                        is_needed |= flights.worker[slot, before + senders + piece] >= 0
            if not is_needed:
                flights.done_by[slot, before + sender] = NONE
        before += senders


@inner
def split_abandon(state: PolicyState, now_us: int, batch: int) -> bool:
    """Forget ``batch``: its pieces leave the chains of their workers, and its transfers the links.

    A transfer that has begun keeps its span: its bytes are on the link. False if ``batch`` is not in flight.
    """
    facts, flights = state.facts, state.flights
    slot = batch & (len(flights.batch) - 1)
    if flights.batch[slot] != batch:
        return False
    size, first = flights.size[slot], flights.first_stage[slot]
    before, place = ZERO, ZERO
    for stage in range(first + 1, _last_stage(facts, first) + 1):
        senders, receivers = pieces_of(facts, stage - 1, size), pieces_of(facts, stage, size)
        for piece in range(receivers):
            low, high = first_row(size, receivers, piece), first_row(size, receivers, piece + 1)
            receiver = flights.worker[slot, before + senders + piece]
            for sender in range(senders):
                rows = rows_within(low, high, size, senders, sender)
                if rows <= 0:
                    continue
                sent_us = flights.sent_us[slot, place]
                if receiver >= 0 and sent_us >= now_us:
                    _free_transfer(
                        state, slot, before + sender, receiver, sent_us, facts.transfer_us[stage, rows]
                    )
                place += 1
        before += senders
    for column in range(flights.worker.shape[1]):
        flights.done_by[slot, column] = -1
        if flights.worker[slot, column] >= 0:
            abandon_entry(state, now_us, slot, column)
    flights.batch[slot] = -1
    state.queues.wake_us[flights.model[slot]] = 0
    return True


@inner
def _free_transfer(
    state: PolicyState, slot: int, column: int, receiver: int, sent_us: int, length_us: int
) -> None:
    if _hosts_differ(state, slot, column, receiver):
        sender = _sender_of(state.flights, slot, column)
        release(state.reservations.uplinks, state.facts.worker_host[sender], sent_us, sent_us + length_us)
        release(state.reservations.downlinks, state.facts.worker_host[receiver], sent_us, sent_us + length_us)
