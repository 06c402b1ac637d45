"""Find and reserve a route in a fleet with split stages: a worker for each piece of the batch at each stage.

The pieces of a stage are numbered as *columns* of the route, stage by stage. Every piece takes the worker of its pool
that starts first, as in :mod:`penstock.schedule.mechanism.route_kernels`. It needs its input from every piece of the
stage before that has some of its rows, one transfer after the other. What a piece takes is held before the next one
looks for its worker, and a probe lets go of all of it at its end.
"""

# mypy: disable-error-code="no-any-return, union-attr"

from __future__ import annotations

from penstock.schedule.kernel import NONE, ONE, ZERO, inner
from penstock.schedule.mechanism.link_kernels import first_fit, hold, release
from penstock.schedule.mechanism.pool_tournament import set_free
from penstock.schedule.mechanism.route_kernels import BEYOND_US, consider, wins
from penstock.schedule.state.arrays import PACE_OF_PROFILE, Actions, Facts, Reservations


@inner
def pieces_of(facts: Facts, stage: int, size: int) -> int:
    """Into how many pieces ``stage`` divides a batch of ``size``."""
    most = facts.split.piece_batch[stage]
    return (size + most - 1) // most


@inner
def first_row(size: int, pieces: int, piece: int) -> int:
    """The first row of ``piece``; that of the piece after the last is ``size``."""
    return piece * (size // pieces) + min(piece, size % pieces)


@inner
def rows_within(low: int, high: int, size: int, pieces: int, piece: int) -> int:
    """How many of rows ``low`` to ``high`` are in ``piece`` of a batch of ``size``; below 1 if none."""
    return min(high, first_row(size, pieces, piece + 1)) - max(low, first_row(size, pieces, piece))


@inner
def split_columns(facts: Facts, pipeline: int, size: int) -> int:
    """The columns of a route for a batch of ``size``."""
    columns = ZERO
    for stage in range(facts.stage_offsets[pipeline], facts.stage_offsets[pipeline + 1]):
        columns += pieces_of(facts, stage, size)
    return columns


@inner
def split_probe(
    facts: Facts, held: Reservations, actions: Actions, row: int, pipeline: int, batch: int, ready_us: int
) -> int:
    """As :func:`penstock.schedule.mechanism.route_kernels.probe`, with a column of ``row`` for each piece.

    The transfers of the route stay in ``facts.split.sent``.
    """
    split = facts.split
    split.found[0], split.found[1] = 0, 0
    before, column, finish_us = ZERO, ZERO, ready_us
    first = facts.stage_offsets[pipeline]
    for stage in range(first, facts.stage_offsets[pipeline + 1]):
        pieces = pieces_of(facts, stage, batch)
        begin, finish_us = column, 0
        for piece in range(pieces):
            _fill_piece(facts, held, actions, row, stage, column, before, begin, piece, batch, ready_us)
            finish_us = max(finish_us, actions.end_us[row, column])
            column += 1
        before = begin
    for place in range(split.found[0] - 1, -1, -1):
        set_free(facts, held, split.used[place, 0], split.used[place, 1])
    for place in range(split.found[1] - 1, -1, -1):
        source, target = split.sent[place, 0], split.sent[place, 1]
        if source != target:
            release(held.uplinks, source, split.sent[place, 2], split.sent[place, 3])
            release(held.downlinks, target, split.sent[place, 2], split.sent[place, 3])
    return finish_us


@inner
def _fill_piece(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    stage: int,
    column: int,
    before: int,
    begin: int,
    piece: int,
    batch: int,
    ready_us: int,
) -> None:
    """Write the worker of ``piece`` that starts first into ``column``, and hold it and the links to it.

    ``before`` and ``begin``: the first columns of the stage before and of this one. They are equal at the first stage.
    """
    split, now_us = facts.split, ready_us - facts.dispatch_us[0]
    pieces = pieces_of(facts, stage, batch)
    low, high = first_row(batch, pieces, piece), first_row(batch, pieces, piece + 1)
    actions.start_us[row, column] = BEYOND_US
    soonest_us = ready_us
    if begin > before:
        soonest_us = _received_us(
            facts, held, actions, row, stage, before, begin, low, high, batch, NONE, NONE
        )
    _walk(facts, held, actions, row, stage, column, before, begin, low, high, batch, soonest_us)
    worker = actions.worker[row, column]
    if begin > before:
        host = facts.worker_host[worker]
        _received_us(facts, held, actions, row, stage, before, begin, low, high, batch, host, now_us)
    work_us = -(-facts.latency_us[stage, high - low] * held.pace[stage] // PACE_OF_PROFILE)
    actions.end_us[row, column] = actions.start_us[row, column] + work_us
    place = split.found[0]
    split.used[place, 0], split.used[place, 1] = worker, held.worker_free_us[worker]
    split.found[0] += 1
    set_free(facts, held, worker, actions.end_us[row, column])


@inner
def _walk(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    stage: int,
    column: int,
    before: int,
    begin: int,
    low: int,
    high: int,
    batch: int,
    soonest_us: int,
) -> None:
    """Search the pool's tree from the worker that is free first; skip each part that cannot have a better one."""
    soonest, path, pool = held.soonest, held.path, facts.stage_pool[stage]
    first = facts.pool_offsets[pool]
    workers = facts.pool_offsets[pool + 1] - first
    path[0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        node = path[depth]
        worker = soonest[2 * first + node]
        if not wins(facts, held, actions, row, column, worker, soonest_us):
            continue
        if node >= workers:
            arrival_us = soonest_us
            if begin > before:
                host = facts.worker_host[worker]
                arrival_us = _received_us(
                    facts, held, actions, row, stage, before, begin, low, high, batch, host, NONE
                )
            consider(facts, held, actions, row, column, worker, arrival_us)
            continue
        winner = 2 * node if soonest[2 * first + 2 * node] == worker else 2 * node + 1
        path[depth], path[depth + 1] = winner ^ 1, winner
        depth += 2


@inner
def _received_us(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    stage: int,
    before: int,
    begin: int,
    low: int,
    high: int,
    batch: int,
    host: int,
    now_us: int,
) -> int:
    """When ``host`` has rows ``low`` to ``high`` from the columns ``before`` to ``begin``.

    A host below 0 stands for one whose links are free: no worker has its input sooner. If ``now_us`` is not below 0,
    the links are held, as of then.
    """
    split, last_us, busy_us = facts.split, ZERO, ZERO
    pieces = begin - before
    for piece in range(pieces):
        rows = rows_within(low, high, batch, pieces, piece)
        if rows <= 0:
            continue
        length_us = facts.transfer_us[stage, rows]
        source = facts.worker_host[actions.worker[row, before + piece]]
        sent_us = actions.end_us[row, before + piece]
        is_linked = host >= 0 and source != host and length_us > 0
        if is_linked:
            sent_us = first_fit(held.uplinks, source, held.downlinks, host, max(sent_us, busy_us), length_us)
            busy_us = sent_us + length_us
        last_us = max(last_us, sent_us + length_us)
        if now_us >= 0:
            place = split.found[1]
            split.found[1] += 1
            split.sent[place, 0], split.sent[place, 1] = source, source
            split.sent[place, 2], split.sent[place, 3] = sent_us, sent_us + length_us
            if is_linked:
                split.sent[place, 1] = host
                hold(held.uplinks, source, now_us, sent_us, busy_us)
                hold(held.downlinks, host, now_us, sent_us, busy_us)
    return last_us


@inner
def split_reserve(
    facts: Facts, held: Reservations, actions: Actions, row: int, pipeline: int, now_us: int, batch: int
) -> None:
    """Hold the workers and links of the route that the last probe, of ``batch``, left in ``row``."""
    sent = facts.split.sent
    for column in range(split_columns(facts, pipeline, batch)):
        set_free(facts, held, actions.worker[row, column], actions.end_us[row, column])
    for place in range(facts.split.found[1]):
        if sent[place, 0] != sent[place, 1]:
            hold(held.uplinks, sent[place, 0], now_us, sent[place, 2], sent[place, 3])
            hold(held.downlinks, sent[place, 1], now_us, sent[place, 2], sent[place, 3])


@inner
def split_waiting_us(
    facts: Facts, actions: Actions, row: int, pipeline: int, batch: int, ready_us: int, finish_us: int
) -> int:
    """How long the batch of the last probe waits on its way: what its largest pieces and its transfers do not take.

    Transfers count as if all requests passed one link, so the result may be below 0. Each is rounded up by itself, so
    each but the first may take 1 us more than its part of the whole.
    """
    waiting_us, column, senders = finish_us - ready_us, ZERO, ONE
    for stage in range(facts.stage_offsets[pipeline], facts.stage_offsets[pipeline + 1]):
        longest_us, pieces = ZERO, pieces_of(facts, stage, batch)
        for _ in range(pieces):
            longest_us = max(longest_us, actions.end_us[row, column] - actions.start_us[row, column])
            column += 1
        waiting_us -= longest_us + facts.transfer_us[stage, batch]
        if facts.transfer_us[stage, batch] > 0:
            waiting_us -= senders + pieces - 2
        senders = pieces
    return waiting_us


@inner
def split_begins_us(facts: Facts, actions: Actions, row: int, pipeline: int, batch: int) -> int:
    """When the last piece of the first stage begins."""
    begins_us = ZERO
    for column in range(pieces_of(facts, facts.stage_offsets[pipeline], batch)):
        begins_us = max(begins_us, actions.start_us[row, column])
    return begins_us
