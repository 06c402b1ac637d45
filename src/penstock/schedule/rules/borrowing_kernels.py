"""Borrowing: before a head is dropped, an idle worker of another pool may do it, if its model can spare the worker.

Pools that hold the same pieces (the table's ``lend_group``) may lend each other workers. Full sharing lets every model
take any worker, so the model that may wait longest crowds out the others. Here a worker is lent only while it is idle,
and only as far as the lender's own requests will not miss it. How far that is, is learnt from the load:

- Every model has a *credit*. A request that is dispatched adds 1, a request that is dropped takes 99. So the credit
  falls where more than 1% of the requests are dropped, and rises elsewhere, up to :data:`FULL`. It starts at 0.
- A pool lends a worker if its next worker is free within ``LENT * credit / FULL`` of the lender's spare time: its SLO
  less what its slowest pipeline takes. So a model that drops more than its 1% lends only if another worker of the
  pool is idle too, and never if its credit is below 0.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from typing import cast

import numpy as np

from penstock.schedule.kernel import NONE, ZERO, inner
from penstock.schedule.mechanism.link_kernels import fit
from penstock.schedule.mechanism.route_kernels import arrival_of, consider, fill_stage
from penstock.schedule.state.arrays import PACE_OF_PROFILE, Actions, Facts, Queues, Reservations
from penstock.schedule.state.split_choice import by_stages
from penstock.units import NEVER_US

FULL = 400
"""The most credit, in requests."""

PER_DROP = 99
"""What a dropped request costs: at 1% of drops the credit stays."""

LEAST_PERCENT = 95
"""A borrowed worker takes no batch of a smaller share of the planned one: it would cost the lender as much time."""

WAIT = cast("int", np.int64(-2))
"""In place of a pipeline: the head waits for company."""

LENT = 2
"""A lender of full credit lends one part in so many of its spare time."""


@inner
def earn(facts: Facts, held: Reservations, model: int, requests: int) -> None:
    """``requests`` of ``model`` were dispatched."""
    if len(facts.lender_pool) > 0:
        held.credit[model] = min(held.credit[model] + requests, FULL)


@inner
def spend(facts: Facts, held: Reservations, model: int) -> None:
    """A request of ``model`` was dropped."""
    if len(facts.lender_pool) > 0:
        held.credit[model] = max(held.credit[model] - PER_DROP, -FULL)


@inner
def _borrowed(
    facts: Facts,
    held: Reservations,
    queues: Queues,
    actions: Actions,
    row: int,
    model: int,
    now_us: int,
    deadline_us: int,
) -> tuple[int, int]:
    """A pipeline and a nearly full batch that end in time on a route with borrowed workers, the route in ``row``.

    The batch is 0 if there is none. If it only lacks company, and may wait for it, the model's wake-up time is set.
    """
    ready_us = now_us + facts.dispatch_us[0]
    count = queues.length[model]
    for pipeline in range(facts.pipeline_offsets[model], facts.pipeline_offsets[model + 1]):
        first, last = facts.stage_offsets[pipeline], facts.stage_offsets[pipeline + 1]
        if facts.lender_offsets[first] == facts.lender_offsets[last]:
            continue
        planned = facts.pipeline_batch[pipeline]
        size = min(count, planned)
        if size < planned:
            finish_us = _probe(facts, held, actions, row, pipeline, planned, ready_us)
            if finish_us + facts.guard_us[pipeline, planned] > deadline_us:
                continue
            finish_us = _probe(facts, held, actions, row, pipeline, size + 1, ready_us)
            wake_us = now_us + deadline_us - finish_us - facts.guard_us[pipeline, size + 1]
            if wake_us > now_us:
                queues.wake_us[model] = wake_us
                return WAIT, ZERO
            if 100 * size < LEAST_PERCENT * planned:
                continue
        finish_us = _probe(facts, held, actions, row, pipeline, size, ready_us)
        if finish_us + facts.guard_us[pipeline, size] <= deadline_us:
            return pipeline, size
    return NONE, ZERO


@inner
def _never_borrowed(
    facts: Facts,
    held: Reservations,
    queues: Queues,
    actions: Actions,
    row: int,
    model: int,
    now_us: int,
    deadline_us: int,
) -> tuple[int, int]:
    """A fleet with split stages lends nothing, so it need not have the code for it compiled."""
    return NONE, ZERO


borrowed = by_stages(_borrowed, _never_borrowed, whole_is_rare=True)


@inner
def _probe(
    facts: Facts, held: Reservations, actions: Actions, row: int, pipeline: int, batch: int, ready_us: int
) -> int:
    """The earliest finish of a batch, with workers of its own pools and those that it may borrow."""
    sender = NONE
    first = facts.stage_offsets[pipeline]
    for stage in range(first, facts.stage_offsets[pipeline + 1]):
        column = stage - first
        fill_stage(facts, held, actions, row, stage, column, batch, sender, ready_us)
        transfer_us = facts.transfer_us[stage, batch]
        sendable_us = ready_us
        if sender >= 0 and transfer_us > 0:
            sendable_us = fit(held.uplinks, sender, ready_us, transfer_us)
        work_us = -(-facts.latency_us[stage, batch] * held.pace[stage] // PACE_OF_PROFILE)
        for place in range(facts.lender_offsets[stage], facts.lender_offsets[stage + 1]):
            pool = facts.lender_pool[place]
            worker = held.soonest[2 * facts.pool_offsets[pool] + 1]
            arrival_us = arrival_of(facts, held, worker, sender, sendable_us, transfer_us)
            if held.worker_free_us[worker] <= arrival_us < actions.start_us[row, column] and _lends(
                facts, held, pool, worker, arrival_us, work_us
            ):
                consider(facts, held, actions, row, column, worker, arrival_us)
        actions.end_us[row, column] = actions.start_us[row, column] + work_us
        sender = facts.worker_host[actions.worker[row, column]]
        ready_us = actions.end_us[row, column]
    return ready_us


@inner
def _lends(facts: Facts, held: Reservations, pool: int, worker: int, from_us: int, work_us: int) -> bool:
    """Whether ``pool`` can spare ``worker``, its first, for ``work_us`` from ``from_us`` on."""
    model = facts.pool_model[pool]
    credit = held.credit[model]
    if credit < 0:
        return False
    missed_us = min(_next_free_us(facts, held, pool, worker) - from_us, work_us)
    return missed_us <= facts.spare_us[model] * credit // (LENT * FULL)


@inner
def _next_free_us(facts: Facts, held: Reservations, pool: int, worker: int) -> int:
    """When the second worker of ``pool`` is free, by its tree; ``worker`` is the first."""
    first = facts.pool_offsets[pool]
    workers = facts.pool_offsets[pool + 1] - first
    node = workers + facts.worker_place[worker] - first
    soonest_us = NEVER_US
    while node > 1:
        soonest_us = min(soonest_us, held.worker_free_us[held.soonest[2 * first + (node ^ 1)]])
        node //= 2
    return soonest_us
