"""The simulated fleet with split stages: what really happens to the pieces of a batch.

As :mod:`penstock.simulate.world`: the real times of a batch are known at its dispatch. A column of the log is a piece,
stage by stage. A piece gets its input from one sender after the other.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import ZERO, inner
from penstock.schedule.mechanism.link_kernels import first_fit, hold
from penstock.schedule.mechanism.split_route_kernels import first_row, pieces_of, rows_within
from penstock.schedule.state.arrays import Actions, Facts, Reservations
from penstock.simulate.world import BatchLog, RequestLog, World, answer, taken_us


@inner
def split_execute(
    facts: Facts, world: World, log: BatchLog, action: Actions, requests: RequestLog, now_us: int
) -> None:
    """As :func:`penstock.simulate.world.execute`, piece by piece."""
    pipeline, batch, size = action.head[0, 2], action.head[0, 3], action.head[0, 4]
    log.model[batch] = action.head[0, 1]
    log.pipeline[batch] = pipeline
    log.size[batch] = size
    first = facts.stage_offsets[pipeline]
    before, column, finish_us = ZERO, ZERO, ZERO
    for stage in range(first, facts.stage_offsets[pipeline + 1]):
        begin, finish_us = column, ZERO
        pieces = pieces_of(facts, stage, size)
        for piece in range(pieces):
            worker = action.worker[0, column]
            low, high = first_row(size, pieces, piece), first_row(size, pieces, piece + 1)
            log.worker[batch, column] = worker
            log.transfer_us[batch, column] = 0
            ready_us = now_us + world.dispatch_us
            if stage > first:
                ready_us = _receive(
                    facts, world.held, log, batch, column, stage, before, begin, low, high, now_us
                )
            log.queued_us[batch, column] = now_us if stage == first else ready_us
            work_us = taken_us(facts, world, log, batch, column, stage, high - low)
            start_us = max(ready_us, world.held.worker_free_us[worker])
            log.start_us[batch, column] = start_us
            log.end_us[batch, column] = start_us + work_us
            world.held.worker_free_us[worker] = start_us + work_us
            finish_us = max(finish_us, start_us + work_us)
            column += 1
        before = begin
    answer(requests, action, finish_us + world.overhead_us)


@inner
def _receive(
    facts: Facts,
    held: Reservations,
    log: BatchLog,
    batch: int,
    column: int,
    stage: int,
    before: int,
    begin: int,
    low: int,
    high: int,
    now_us: int,
) -> int:
    """When rows ``low`` to ``high`` of the columns ``before`` to ``begin`` have arrived at the worker of ``column``."""
    host, size = facts.worker_host[log.worker[batch, column]], log.size[batch]
    last_us, busy_us = ZERO, ZERO
    pieces = begin - before
    for piece in range(pieces):
        rows = rows_within(low, high, size, pieces, piece)
        if rows <= 0:
            continue
        length_us = facts.transfer_us[stage, rows]
        log.transfer_us[batch, column] += length_us
        source = facts.worker_host[log.worker[batch, before + piece]]
        sent_us = log.end_us[batch, before + piece]
        if source != host and length_us > 0:
            sent_us = first_fit(held.uplinks, source, held.downlinks, host, max(sent_us, busy_us), length_us)
            busy_us = sent_us + length_us
            hold(held.uplinks, source, now_us, sent_us, busy_us)
            hold(held.downlinks, host, now_us, sent_us, busy_us)
        last_us = max(last_us, sent_us + length_us)
    return last_us
