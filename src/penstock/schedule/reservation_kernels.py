"""Rules that look ahead: dispatch, wait or drop, for the head of one model's queue at a time.

After "PPipe: Efficient Video Analytics Serving on Heterogeneous GPU Clusters via Pool-Based Pipeline
Parallelism" (USENIX ATC 2025), the data plane's section on reservation-based adaptive batching. Ours
adds the guard: a prediction built from medians must stay ahead of the deadline by what the profile's
99th percentiles call for. Where the profile has no distribution the guard is 0 and the rule is theirs.

That is ``reservation``. ``whole-batch`` is the same without the early drop: nobody is dropped while a batch of
any size would make it. ``penstock`` chooses only among the pipelines that meet the head's deadline as long as there
is one, so that a head is not dropped for the sake of a pipeline that frees sooner and takes longer.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np

from penstock.record import Outcome
from penstock.schedule.flight_kernels import track
from penstock.schedule.kernel import ONE, inner
from penstock.schedule.queue_kernels import pop_head
from penstock.schedule.route_kernels import choose_pipeline, probe, reserve
from penstock.schedule.rules import PENSTOCK, WHOLE_BATCH
from penstock.schedule.state import Actions, Facts, PolicyState, Queues, Reservations
from penstock.units import NEVER_US

DISPATCH, DROP, SLEEP = 0, 1, 2
EARLY, DEADLINE = np.int64(Outcome.DROPPED_EARLY), np.int64(Outcome.DROPPED_DEADLINE)


@inner
def step(state: PolicyState, model: int, now_us: int, row: int, tracked: bool) -> int:
    """One action for a due model, written into row ``row``; ``SLEEP`` means that its wake-up time is set.

    ``tracked`` keeps the batch for corrections by real completions.
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
    if not judged and rule != WHOLE_BATCH:
        # A head that cannot have (nearly) the planned batch at first sight would cost the pool its rate.
        least = max(1, (95 * planned + 50) // 100)
        if _largest(facts, held, actions, pipeline, row, least, planned, now_us, deadline_us) == 0:
            return drop(queues, actions, model, row, EARLY)
        queues.judged[model, head] = 1
    if count < planned:
        # One more would still make it: some batch larger than the queue fits, so wait for it.
        slack_us = deadline_us - _finish(facts, held, actions, pipeline, row, count + 1, now_us)
        if slack_us > 0:
            queues.wake_us[model] = now_us + slack_us
            return SLEEP
    batch = _largest(facts, held, actions, pipeline, row, ONE, min(count, planned), now_us, deadline_us)
    if batch == 0:
        return drop(queues, actions, model, row, DEADLINE)
    return dispatch(state, model, pipeline, batch, now_us, row, tracked)


@inner
def _finish(
    facts: Facts, held: Reservations, actions: Actions, pipeline: int, row: int, batch: int, now_us: int
) -> int:
    """The finish to hold against a deadline: predicted, plus the guard."""
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
