"""The simulated fleet: what really happens to a batch, while the policy only predicts it.

Workers serve batches in the order in which they were promised. A transfer takes the first span that is free on both of
its links, and batches that were promised earlier go first. So the real times of a batch are known at its dispatch, from
what was promised before, and no event is needed on its way. Without noise they equal the prediction.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.arrays import F64, I64
from penstock.record import Outcome
from penstock.schedule.kernel import NONE, inner
from penstock.schedule.mechanism.link_kernels import first_fit, hold
from penstock.schedule.state.arrays import Actions, Facts, Reservations

_MET, _LATE = int(Outcome.MET), int(Outcome.LATE)


class World(NamedTuple):
    """``held``: when each worker and link is really free. ``sigma`` (stages, max batch + 1): the noise, 0 for none.

    ``dispatch_us``: from a decision to the start on an idle worker. ``overhead_us``: added to each request.
    """

    held: Reservations
    sigma: F64
    dispatch_us: int
    overhead_us: int


class RequestLog(NamedTuple):
    """One row for each request, in order of arrival; -1 if a value is not known yet. ``pipeline`` is global."""

    arrival_us: I64
    model: I64
    deadline_us: I64
    pipeline: I64
    batch: I64
    finish_us: I64
    outcome: I64


class BatchLog(NamedTuple):
    """One row for each batch, one column for each stage; ``worker`` is -1 after the last stage, ``pipeline`` global.

    If stages are split, there is a column for each piece, stage by stage.

    ``normal`` has the standard normal values that make the noise; they are drawn in advance.
    """

    model: I64
    pipeline: I64
    size: I64
    worker: I64
    queued_us: I64
    start_us: I64
    end_us: I64
    transfer_us: I64
    normal: F64


@inner
def execute(
    facts: Facts, world: World, log: BatchLog, action: Actions, requests: RequestLog, now_us: int
) -> None:
    """Run the batch in row 0 of ``action``: write its times on workers and links, and the ends of its requests."""
    pipeline, batch, size = action.head[0, 2], action.head[0, 3], action.head[0, 4]
    log.model[batch] = action.head[0, 1]
    log.pipeline[batch] = pipeline
    log.size[batch] = size
    first = facts.stage_offsets[pipeline]
    ready_us = now_us + world.dispatch_us
    sender = NONE
    for column in range(facts.stage_offsets[pipeline + 1] - first):
        worker = action.worker[0, column]
        log.worker[batch, column] = worker
        ready_us = _receive(facts, world.held, log, batch, column, first + column, sender, ready_us, now_us)
        log.queued_us[batch, column] = now_us if column == 0 else ready_us
        ready_us = _compute(facts, world, log, batch, column, first + column, ready_us)
        sender = facts.worker_host[worker]
    answer(requests, action, ready_us + world.overhead_us)


@inner
def _receive(
    facts: Facts,
    held: Reservations,
    log: BatchLog,
    batch: int,
    column: int,
    stage: int,
    sender: int,
    ready_us: int,
    now_us: int,
) -> int:
    """When the input has arrived at the stage's worker, over the links if it crosses hosts."""
    host = facts.worker_host[log.worker[batch, column]]
    transfer_us = facts.transfer_us[stage, log.size[batch]]
    log.transfer_us[batch, column] = transfer_us
    if sender < 0 or sender == host:
        return ready_us + transfer_us
    sent_us = first_fit(held.uplinks, sender, held.downlinks, host, ready_us, transfer_us)
    hold(held.uplinks, sender, now_us, sent_us, sent_us + transfer_us)
    hold(held.downlinks, host, now_us, sent_us, sent_us + transfer_us)
    return sent_us + transfer_us


@inner
def _compute(
    facts: Facts, world: World, log: BatchLog, batch: int, column: int, stage: int, ready_us: int
) -> int:
    """When the worker ends the batch."""
    work_us = taken_us(facts, world, log, batch, column, stage, log.size[batch])
    worker = log.worker[batch, column]
    start_us = max(ready_us, world.held.worker_free_us[worker])
    log.start_us[batch, column] = start_us
    log.end_us[batch, column] = start_us + work_us
    world.held.worker_free_us[worker] = start_us + work_us
    return start_us + work_us


@inner
def taken_us(
    facts: Facts, world: World, log: BatchLog, batch: int, column: int, stage: int, size: int
) -> int:
    """How long ``size`` requests really take at ``stage``."""
    work_us = facts.latency_us[stage, size]
    if world.sigma[stage, size] > 0.0:
        factor = math.exp(world.sigma[stage, size] * log.normal[batch, column])
        work_us = max(1, math.floor(work_us * factor + 0.5))
    return work_us


@inner
def answer(requests: RequestLog, action: Actions, finish_us: int) -> None:
    """Every request of the batch is answered at ``finish_us``."""
    for index in range(action.head[0, 4]):
        request = action.request[0, index]
        requests.pipeline[request] = action.head[0, 2]
        requests.batch[request] = action.head[0, 3]
        requests.finish_us[request] = finish_us
        requests.outcome[request] = _MET if finish_us <= requests.deadline_us[request] else _LATE
