"""The event loop: one kernel that calls the policy's own kernels.

Events are ordered by (time, priority, sequence): completions, then wake-ups, then arrivals, each in
order; after every event the policy decides for the models that are due. Arrivals come from a sorted
array and wake-ups from the queues, so only completions need a heap, and they only where noise makes
them differ from what the policy knows. The kernel stops when an array is full and goes on from
the same state once it has been made larger.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.decide_kernels import act
from penstock.schedule.flight_kernels import complete, has_room
from penstock.schedule.kernel import ZERO, inner, kernel
from penstock.schedule.queue_kernels import is_full, push
from penstock.schedule.reservation_kernels import DISPATCH, DROP
from penstock.schedule.state import PolicyState
from penstock.schedule.table import I64
from penstock.simulate.heap import heap_drop_first, heap_push
from penstock.simulate.world import BatchLog, RequestLog, World, execute
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
    """Process events until none is left or an array is full; returns which.

    ``informed``: tell the policy of each completion. ``heap``: (rows, 4), see :mod:`penstock.simulate.heap`.
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
    """Every decision due now, put into effect."""
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
