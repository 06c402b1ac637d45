"""The calls of the policy object, each a kernel that takes the addresses of the state.

Every call except ``arrive`` says when the earliest decision is due. So the object knows without another call that none
is due yet. Kernels check no index and no time: the object does.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import types

from penstock.arrays import I64
from penstock.kernels import entry_point
from penstock.schedule.kernel import inner, kernel
from penstock.schedule.mechanism import in_flight, in_flight_kernels
from penstock.schedule.mechanism.queue_kernels import is_full, push, remove
from penstock.schedule.mechanism.routes import columns_of
from penstock.schedule.rules.decide_kernels import NO_ROOM, decide_due
from penstock.schedule.rules.reservation_kernels import DISPATCH
from penstock.schedule.state.addresses import BLOCK, SPLIT_BLOCK, state_at
from penstock.schedule.state.arrays import Actions, PolicyState, Queues
from penstock.units import NEVER_US

_PREFIX, _HEAD = 2, 6
"""The words of a report before its actions, and the words that every action begins with."""


def make_report(actions: Actions) -> I64:
    """Room for what :func:`decide` reports of as many actions as there is room for."""
    rows, stages = actions.worker.shape
    return np.zeros(_PREFIX + rows * (_HEAD + actions.request.shape[1] + 3 * stages), np.int64)


@kernel
def decide(block: I64, now_us: int, report: I64) -> int:
    """Write every decision that is due, if there is room, into ``report``; returns the number of words written.

    The first two words are the time of the next decision, and 1 if batches in flight need more room (0 if not). Then
    follow the actions, each with its kind, model, pipeline, batch, size or cause, and number of stages, then its
    requests. A dispatch ends with its route: the workers of its stages, their starts, and their ends. If stages are
    split, there is one of each for every piece, and the number is that of the pieces.
    """
    state = state_at(block)
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
        requests = actions.head[row, 4]
        stages = columns_of(state.facts, actions.head[row, 2], requests)
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
    """Queue a request. If the ring of its model is full, nothing is done and the result is False."""
    queues = state_at(block).queues
    if is_full(queues, model):
        return False
    push(queues, now_us, model, request, deadline_us)
    return True


@kernel
def complete(block: I64, now_us: int, batch: int, stage: int) -> int:
    """See :func:`penstock.schedule.mechanism.in_flight_kernels.complete`."""
    state = state_at(block)
    in_flight.complete(state, now_us, batch, stage)
    return _earliest(state.queues)


@kernel
def abandon(block: I64, now_us: int, batch: int) -> tuple[bool, int]:
    """Whether ``batch`` was in flight, and the next decision's time."""
    state = state_at(block)
    was_in_flight = in_flight.abandon(state, now_us, batch)
    return was_in_flight, _earliest(state.queues)


@kernel
def cancel(block: I64, request: int) -> tuple[bool, int]:
    """Whether ``request`` was queued, and the next decision's time."""
    queues = state_at(block).queues
    return remove(queues, request), _earliest(queues)


@kernel
def worker_down(block: I64, worker: int) -> int:
    """See :func:`penstock.schedule.mechanism.in_flight_kernels.worker_down`."""
    state = state_at(block)
    in_flight_kernels.worker_down(state, worker)
    return _earliest(state.queues)


@kernel
def worker_up(block: I64, now_us: int, worker: int) -> int:
    """See :func:`penstock.schedule.mechanism.in_flight_kernels.worker_up`."""
    state = state_at(block)
    in_flight_kernels.worker_up(state, now_us, worker)
    return _earliest(state.queues)


class FrequentCalls(NamedTuple):
    """The calls that a driver makes for every request or batch, without numba's look at the types of arguments.

    Pass the addresses, then plain integers of 64 bits, then the report: see :func:`penstock.kernels.entry_point`.
    """

    arrive: Callable[[I64, int, int, int, int], bool]
    decide: Callable[[I64, int, I64], int]
    complete: Callable[[I64, int, int, int], int]


@cache
def frequent_calls(*, split: bool) -> FrequentCalls:
    """Compiles them at the first call in a process, or takes them from the cache.

    ``split``: for a fleet with split stages.
    """
    block, words, number = SPLIT_BLOCK if split else BLOCK, types.int64[::1], types.int64
    return FrequentCalls(
        arrive=entry_point(arrive, block, number, number, number, number),
        decide=entry_point(decide, block, number, words),
        complete=entry_point(complete, block, number, number, number),
    )


@inner
def _earliest(queues: Queues) -> int:
    earliest_us = NEVER_US
    for model in range(len(queues.wake_us)):
        earliest_us = min(earliest_us, queues.wake_us[model])
    return earliest_us
