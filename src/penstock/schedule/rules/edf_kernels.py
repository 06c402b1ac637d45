"""Earliest deadline first: a first-stage worker that is free gets what is queued, up to the planned batch.

This is the baseline that does not look ahead. It does not wait for more requests, and it ignores how busy later stages
are. It drops a request only if an idle fleet could not finish it in time. It reserves the whole route nevertheless,
because a batch must know its workers.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import NONE, inner
from penstock.schedule.mechanism.routes import begin_of, probe
from penstock.schedule.rules.reservation_kernels import DEADLINE, SLEEP, dispatch, drop
from penstock.schedule.state.arrays import PolicyState
from penstock.units import NEVER_US


@inner
def greedy_step(state: PolicyState, model: int, now_us: int, row: int, tracked: bool) -> int:
    """One action for a due model, as :func:`penstock.schedule.rules.reservation_kernels.step`."""
    facts, queues = state.facts, state.queues
    count = queues.length[model]
    if count == 0:
        queues.wake_us[model] = NEVER_US
        return SLEEP
    ready_us = now_us + facts.dispatch_us[0]
    spare_us = queues.deadline_us[model, queues.first[model]] - ready_us - facts.least_us[model]
    if spare_us < 0:
        return drop(queues, state.actions, model, row, DEADLINE)
    start_us, pipeline = _first_free(state, model, count, ready_us, row)
    if start_us > ready_us:
        queues.wake_us[model] = now_us + min(start_us - ready_us, spare_us + 1)
        return SLEEP
    size = min(count, facts.pipeline_batch[pipeline])
    probe(facts, state.reservations, state.actions, row, pipeline, size, ready_us)
    return dispatch(state, model, pipeline, size, now_us, row, tracked)


@inner
def _first_free(state: PolicyState, model: int, count: int, ready_us: int, row: int) -> tuple[int, int]:
    """When the first stage of some pipeline is free, and of which; ties go to the first.

    A pipeline that has a stage whose workers are all down is never free.
    """
    facts, actions = state.facts, state.actions
    best, best_us = NONE, NEVER_US
    for pipeline in range(facts.pipeline_offsets[model], facts.pipeline_offsets[model + 1]):
        size = min(count, facts.pipeline_batch[pipeline])
        finish_us = probe(facts, state.reservations, actions, row, pipeline, size, ready_us)
        # Read ahead of the test, the begin made the simulator's loop a fifth slower, whatever the rule.
        if finish_us < NEVER_US and begin_of(facts, actions, row, pipeline, size) < best_us:
            best, best_us = pipeline, begin_of(facts, actions, row, pipeline, size)
    return best_us, best
