"""The event loop of routed policies: one kernel that calls the kernels of the policy.

Events are ordered by (time, priority, sequence): completions first, then wake-ups, then arrivals. After every event
the policy decides for the models that are due. Arrivals come from a sorted array and wake-ups from the queues, so
only completions need a heap. Without noise they are as predicted, and the policy is not told of them. If an array is
full, the kernel returns; it goes on from the same state when it is called with a larger one.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.arrays import I64
from penstock.schedule.kernel import ZERO, inner, kernel
from penstock.schedule.mechanism.in_flight import complete
from penstock.schedule.mechanism.in_flight_kernels import has_room
from penstock.schedule.mechanism.queue_kernels import is_full, push
from penstock.schedule.rules.decide_kernels import act
from penstock.schedule.rules.reservation_kernels import DISPATCH, DROP
from penstock.schedule.state.arrays import PolicyState
from penstock.simulate.routed.execution import execute
from penstock.simulate.routed.heap import heap_drop_first, heap_push
from penstock.simulate.world import BatchLog, RequestLog, World
from penstock.units import NEVER_US

DONE, LOG_FULL, QUEUE_FULL, FLIGHTS_FULL, HEAP_FULL = 0, 1, 2, 3, 4

NOW, NEXT_ARRIVAL, HEAP_SIZE, SEQUENCE = 0, 1, 2, 3
"""Places in the cursor: the time, the next request, the heap's size, the next sequence number."""


@kernel
def run(
    policy: PolicyState,
    world: World,
    log: BatchLog,
    requests: RequestLog,
    heap: I64,
    cursor: I64,
    informed: bool,
) -> int:
    """Process events until none is left or an array is full; the result says which.

    ``informed``: whether to tell the policy of each completion. ``heap``: (rows, 4), see
    :mod:`penstock.simulate.routed.heap`.
    """
    while True:
        status = _decide(policy, world, log, requests, heap, cursor, informed)
        if status != DONE:
            return status
        arrival_us, done_us, wake_us = _next_times(policy, requests, heap, cursor)
        now_us = min(arrival_us, done_us, wake_us)
        if now_us >= NEVER_US:
            return DONE
        if now_us == done_us:
            batch, stage = heap[0, 2], heap[0, 3]
            heap_drop_first(heap, cursor[HEAP_SIZE])
            cursor[HEAP_SIZE] -= 1
            complete(policy, now_us, batch, stage)
        elif now_us == arrival_us and now_us != wake_us:
            request = cursor[NEXT_ARRIVAL]
            if is_full(policy.queues, requests.model[request]):
                return QUEUE_FULL
            push(policy.queues, now_us, requests.model[request], request, requests.deadline_us[request])
            cursor[NEXT_ARRIVAL] += 1
        cursor[NOW] = now_us


@inner
def _next_times(policy: PolicyState, requests: RequestLog, heap: I64, cursor: I64) -> tuple[int, int, int]:
    """The times of the next arrival, completion and wake-up."""
    arrival_us = done_us = wake_us = NEVER_US
    if cursor[NEXT_ARRIVAL] < len(requests.arrival_us):
        arrival_us = requests.arrival_us[cursor[NEXT_ARRIVAL]]
    if cursor[HEAP_SIZE] > 0:
        done_us = heap[0, 0]
    for model in range(len(policy.queues.wake_us)):
        wake_us = min(wake_us, policy.queues.wake_us[model])
    return arrival_us, done_us, wake_us


@inner
def _decide(
    policy: PolicyState,
    world: World,
    log: BatchLog,
    requests: RequestLog,
    heap: I64,
    cursor: I64,
    informed: bool,
) -> int:
    """Make every decision that is due now, and carry it out."""
    now_us = cursor[NOW]
    for model in range(len(policy.queues.wake_us)):
        while policy.queues.wake_us[model] <= now_us:
            batch = policy.counter[0]
            if batch == len(log.size):
                return LOG_FULL
            if informed and not has_room(policy.flights, batch):
                return FLIGHTS_FULL
            if informed and cursor[HEAP_SIZE] + log.worker.shape[1] > len(heap):
                return HEAP_FULL
            kind = act(policy, model, now_us, ZERO, informed)
            if kind == DROP:
                requests.outcome[policy.actions.request[0, 0]] = policy.actions.head[0, 4]
            elif kind == DISPATCH:
                execute(policy.facts, world, log, policy.actions, requests, now_us)
                if informed:
                    _expect_completions(log, batch, heap, cursor)
    return DONE


@inner
def _expect_completions(log: BatchLog, batch: int, heap: I64, cursor: I64) -> None:
    for stage in range(log.worker.shape[1]):
        if log.worker[batch, stage] >= 0:
            heap_push(heap, cursor[HEAP_SIZE], log.end_us[batch, stage], cursor[SEQUENCE], batch, stage)
            cursor[HEAP_SIZE] += 1
            cursor[SEQUENCE] += 1
