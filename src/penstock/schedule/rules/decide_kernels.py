"""The decisions that are due, by the rule that the state names. The policy object and the simulator call this."""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import YES, ZERO, inner
from penstock.schedule.mechanism.in_flight_kernels import has_room
from penstock.schedule.rule_numbers import EDF
from penstock.schedule.rules.edf_kernels import greedy_step
from penstock.schedule.rules.reservation_kernels import SLEEP, step
from penstock.schedule.state.arrays import PolicyState

NO_ROOM = -1


@inner
def decide_due(state: PolicyState, now_us: int) -> int:
    """Decide for every model that is due, in order; returns the number of rows in ``state.actions``.

    If the rows or the slots for batches run out, some models stay due, and the result is -1 - rows: make room and call
    again.
    """
    wake_us = state.queues.wake_us
    rows = ZERO
    for model in range(len(wake_us)):
        while wake_us[model] <= now_us:
            if rows == len(state.actions.head) or not has_room(state.flights, state.counter[0]):
                return NO_ROOM - rows
            if act(state, model, now_us, rows, YES) != SLEEP:
                rows += 1
    return rows


@inner
def act(state: PolicyState, model: int, now_us: int, row: int, tracked: bool) -> int:
    """One action for a due model, written into row ``row``; ``SLEEP`` means that its wake-up time is set.

    If ``tracked``, the batch is kept so that real completions can correct the predictions.
    """
    if state.rule[0] == EDF:
        return greedy_step(state, model, now_us, row, tracked)
    return step(state, model, now_us, row, tracked)
