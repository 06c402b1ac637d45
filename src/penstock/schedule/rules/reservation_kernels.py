"""Rules that look ahead: dispatch, wait or drop, for the head of one model's queue at a time.

``reservation`` follows "PPipe: Efficient Video Analytics Serving on Heterogeneous GPU Clusters via Pool-Based Pipeline
Parallelism" (USENIX ATC 2025), the section on reservation-based adaptive batching. We add a guard: predictions are made
of medians, so they must end before the deadline by a margin that follows from the profile's 99th percentiles. If the
profile has no distribution, the guard is 0 and the rule is the published one.

``whole-batch`` is the same without the early drop: no request is dropped as long as a batch of any size would meet its
deadline. ``penstock`` chooses among the pipelines that meet the head's deadline, if there is one. So it does not drop a
head because some pipeline is free sooner but takes too long. It is also *work-conserving* where that costs no capacity:

- A partial batch leaves at once if its whole route is idle, and so is half of its first pool. At low load a request
  waits for nobody. At high load half of a pool is seldom idle, and batches fill as in the published rule.
- Before a head is dropped, each idle first-stage worker is considered, with any batch and without the guard: work that
  can still end in time at the median is better than an idle worker.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np

from penstock.record import Outcome
from penstock.schedule.kernel import NONE, ONE, ZERO, inner
from penstock.schedule.mechanism.in_flight import track
from penstock.schedule.mechanism.queue_kernels import pop_head
from penstock.schedule.mechanism.routes import begin_of, choose_pipeline, probe, reserve, waiting_of
from penstock.schedule.rule_numbers import PENSTOCK, WHOLE_BATCH
from penstock.schedule.rules.borrowing_kernels import WAIT, borrowed, earn, spend
from penstock.schedule.state.arrays import Actions, Facts, PolicyState, Queues, Reservations
from penstock.units import NEVER_US

DISPATCH, DROP, SLEEP = 0, 1, 2

MOST_LOOKED_AT = 16
"""Workers of a pool that stand for all, when we ask whether half of it is idle."""

EARLY, DEADLINE = np.int64(Outcome.DROPPED_EARLY), np.int64(Outcome.DROPPED_DEADLINE)


@inner
def step(state: PolicyState, model: int, now_us: int, row: int, tracked: bool) -> int:
    """One action for a due model, written into row ``row``; ``SLEEP`` means that its wake-up time is set.

    If ``tracked``, the batch is kept so that real completions can correct the predictions.
    """
    facts, held, queues, actions = state.facts, state.reservations, state.queues, state.actions
    count = queues.length[model]
    if count == 0:
        queues.wake_us[model] = NEVER_US
        return SLEEP
    head = queues.first[model]
    deadline_us = queues.deadline_us[model, head]
    judged = queues.judged[model, head] == 1
    rule = state.rule[0]
    pipeline = choose_pipeline(facts, held, actions, row, model, now_us, deadline_us, rule == PENSTOCK)
    planned = facts.pipeline_batch[pipeline]
    cause, batch = DEADLINE, ZERO
    if not judged and rule != WHOLE_BATCH:
        # If batches were much smaller than planned, the pool would not reach its rate. So a head that cannot be in
        # (nearly) the planned batch when it is first seen is dropped.
        least = max(1, (95 * planned + 50) // 100)
        if _largest(facts, held, actions, pipeline, row, least, planned, now_us, deadline_us) == 0:
            cause = EARLY
        else:
            queues.judged[model, head] = 1
    if cause == DEADLINE:
        if count < planned:
            # If a batch with one more request would meet the deadline, wait for that request.
            slack_us = deadline_us - _finish(facts, held, actions, pipeline, row, count + 1, now_us)
            wake_us = min(now_us + slack_us, queues.arrived_us[model, head] + facts.queue_delay_us[0])
            if wake_us > now_us and rule == PENSTOCK:
                wake_us = min(wake_us, _leaves_us(facts, held, actions, pipeline, row, count, now_us))
            if wake_us > now_us:
                queues.wake_us[model] = wake_us
                return SLEEP
        batch = _largest(facts, held, actions, pipeline, row, ONE, min(count, planned), now_us, deadline_us)
    if batch == 0 and rule == PENSTOCK:
        pipeline, batch = _still_possible(facts, held, actions, row, model, count, now_us, deadline_us)
        if batch == 0 and len(facts.lender_pool) > 0:
            pipeline, batch = borrowed(facts, held, queues, actions, row, model, now_us, deadline_us)
            if pipeline == WAIT:
                return SLEEP
    if batch == 0:
        spend(facts, held, model)
        return drop(queues, actions, model, row, cause)
    earn(facts, held, model, batch)
    return dispatch(state, model, pipeline, batch, now_us, row, tracked)


@inner
def _leaves_us(
    facts: Facts, held: Reservations, actions: Actions, pipeline: int, row: int, count: int, now_us: int
) -> int:
    """``now_us`` if a batch of ``count`` may leave at once; else when to ask again.

    It leaves if it waits at no stage, and if half of its first pool (of the workers that are up) is idle. In a large
    pool, some workers are looked at for all: the longest idle is taken first, so work goes round, and each is as often
    idle as any other.
    """
    ready_us = now_us + facts.dispatch_us[0]
    finish_us = probe(facts, held, actions, row, pipeline, count, ready_us)
    waiting_us = waiting_of(facts, actions, row, pipeline, count, ready_us, finish_us)
    if waiting_us > 0:
        first_us = begin_of(facts, actions, row, pipeline, count) - ready_us
        return now_us + (first_us if first_us > 0 else waiting_us)
    pool = facts.stage_pool[facts.stage_offsets[pipeline]]
    begin, workers = facts.pool_offsets[pool], facts.pool_offsets[pool + 1] - facts.pool_offsets[pool]
    looked_at = min(workers, MOST_LOOKED_AT)
    idle, busy, next_us = ZERO, ZERO, NEVER_US
    for place in range(looked_at):
        free_us = held.worker_free_us[facts.pool_worker[begin + place * workers // looked_at]]
        if free_us <= ready_us:
            idle += 1
        elif free_us < NEVER_US:
            busy += 1
            next_us = min(next_us, free_us)
    return now_us if idle >= busy else now_us + next_us - ready_us


@inner
def _still_possible(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    model: int,
    count: int,
    now_us: int,
    deadline_us: int,
) -> tuple[int, int]:
    """A pipeline and batch that an idle first-stage worker can begin now and end in time, its route in ``row``.

    The batch is 0 if there is none. Only the first pipeline that can is looked for: this comes before a drop.
    """
    ready_us = now_us + facts.dispatch_us[0]
    for pipeline in range(facts.pipeline_offsets[model], facts.pipeline_offsets[model + 1]):
        pool = facts.stage_pool[facts.stage_offsets[pipeline]]
        if held.worker_free_us[held.soonest[2 * facts.pool_offsets[pool] + 1]] > ready_us:
            continue
        for size in range(min(count, facts.pipeline_batch[pipeline]), 0, -1):
            if probe(facts, held, actions, row, pipeline, size, ready_us) <= deadline_us:
                return pipeline, size
    return NONE, ZERO


@inner
def _finish(
    facts: Facts, held: Reservations, actions: Actions, pipeline: int, row: int, batch: int, now_us: int
) -> int:
    """The finish to compare with a deadline: the predicted one plus the guard."""
    ready_us = now_us + facts.dispatch_us[0]
    finish_us = probe(facts, held, actions, row, pipeline, batch, ready_us)
    return finish_us + facts.guard_us[pipeline, batch]


@inner
def _largest(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    pipeline: int,
    row: int,
    least: int,
    most: int,
    now_us: int,
    deadline_us: int,
) -> int:
    """The largest batch in ``[least, most]`` that meets the deadline, its route in ``row``; 0 if none."""
    for batch in range(most, least - 1, -1):
        if _finish(facts, held, actions, pipeline, row, batch, now_us) <= deadline_us:
            return batch
    return 0


@inner
def drop(queues: Queues, actions: Actions, model: int, row: int, cause: int) -> int:
    """Drop the head of the model's queue, into ``row``."""
    actions.head[row, 0] = DROP
    actions.head[row, 1] = model
    actions.head[row, 4] = cause
    actions.request[row, 0] = pop_head(queues, model)
    return DROP


@inner
def dispatch(
    state: PolicyState, model: int, pipeline: int, size: int, now_us: int, row: int, tracked: bool
) -> int:
    """Reserve the route in ``row`` for the first ``size`` requests."""
    actions = state.actions
    batch = state.counter[0]
    state.counter[0] += 1
    head = actions.head[row]
    head[0], head[1], head[2], head[3], head[4] = DISPATCH, model, pipeline, batch, size
    for index in range(size):
        actions.request[row, index] = pop_head(state.queues, model)
    reserve(state.facts, state.reservations, actions, row, pipeline, now_us, size)
    if tracked:
        track(state.facts, state.flights, actions, row)
    return DISPATCH
