"""The calls of the policy object, each a kernel that takes the state as its block.

Every call but ``arrive`` says when the earliest decision is due, so that the object need not enter a kernel to know
that none is.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np

from penstock.schedule import flight_kernels
from penstock.schedule.decide_kernels import NO_ROOM, decide_due
from penstock.schedule.kernel import inner, kernel
from penstock.schedule.queue_kernels import is_full, push, remove
from penstock.schedule.reservation_kernels import DISPATCH
from penstock.schedule.state import Actions, PolicyState, Queues
from penstock.schedule.state_block import unpack
from penstock.schedule.table import I64
from penstock.units import NEVER_US

_PREFIX, _HEAD = 2, 6
"""Words of a report before its actions, and words that every action has."""


def make_report(actions: Actions) -> I64:
    """Room for what :func:`decide` reports of as many actions as there is room for."""
    rows, stages = actions.worker.shape
    return np.zeros(_PREFIX + rows * (_HEAD + actions.request.shape[1] + 3 * stages), np.int64)


@kernel
def decide(block: I64, now_us: int, report: I64) -> int:
    """Every decision that is due, as far as there is room, in the first words of ``report``; returns how many.

    First the time of the next decision, and 1 if batches in flight need more room (0 if not). Then for each
    action: kind, model, pipeline, batch, size or cause, stages; its requests; and, of a dispatch, its route: the
    stages' workers, their starts, their ends.
    """
    state = unpack(block)
    rows = decide_due(state, now_us)
    report[1] = 0
    if rows < 0:
        rows = NO_ROOM - rows
        report[1] = 0 if rows == len(state.actions.head) else 1
    report[0] = _earliest(state.queues)
    at = _PREFIX
    for row in range(rows):
        at = _write(state, row, report, at)
    return at


@inner
def _write(state: PolicyState, row: int, report: I64, at: int) -> int:
    """Write the action in ``row`` from word ``at`` on; returns the word after it."""
    actions = state.actions
    requests, stages = 1, 0
    if actions.head[row, 0] == DISPATCH:
        pipeline = actions.head[row, 2]
        requests = actions.head[row, 4]
        stages = state.facts.stage_first[pipeline + 1] - state.facts.stage_first[pipeline]
    for column in range(5):
        report[at + column] = actions.head[row, column]
    report[at + 5] = stages
    at += _HEAD
    for index in range(requests):
        report[at + index] = actions.request[row, index]
    at += requests
    for stage in range(stages):
        report[at + stage] = actions.worker[row, stage]
        report[at + stages + stage] = actions.start_us[row, stage]
        report[at + 2 * stages + stage] = actions.end_us[row, stage]
    return at + 3 * stages


@kernel
def arrive(block: I64, now_us: int, model: int, request: int, deadline_us: int) -> bool:
    """Queue a request; False, and nothing done, where the ring of its model is full."""
    queues = unpack(block).queues
    if is_full(queues, model):
        return False
    push(queues, now_us, model, request, deadline_us)
    return True


@kernel
def complete(block: I64, now_us: int, batch: int, stage: int) -> int:
    """See :func:`penstock.schedule.flight_kernels.complete`."""
    state = unpack(block)
    flight_kernels.complete(state, now_us, batch, stage)
    return _earliest(state.queues)


@kernel
def abandon(block: I64, now_us: int, batch: int) -> int:
    """See :func:`penstock.schedule.flight_kernels.abandon`."""
    state = unpack(block)
    flight_kernels.abandon(state, now_us, batch)
    return _earliest(state.queues)


@kernel
def cancel(block: I64, request: int) -> tuple[bool, int]:
    """Whether ``request`` was queued, and the next decision's time."""
    queues = unpack(block).queues
    return remove(queues, request), _earliest(queues)


@kernel
def worker_down(block: I64, now_us: int, worker: int) -> int:
    """See :func:`penstock.schedule.flight_kernels.worker_down`."""
    state = unpack(block)
    flight_kernels.worker_down(state, now_us, worker)
    return _earliest(state.queues)


@kernel
def worker_up(block: I64, now_us: int, worker: int) -> int:
    """See :func:`penstock.schedule.flight_kernels.worker_up`."""
    state = unpack(block)
    flight_kernels.worker_up(state, now_us, worker)
    return _earliest(state.queues)


@inner
def _earliest(queues: Queues) -> int:
    earliest_us = NEVER_US
    for model in range(len(queues.wake_us)):
        earliest_us = min(earliest_us, queues.wake_us[model])
    return earliest_us
