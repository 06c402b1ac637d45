"""One queue for each model, by (deadline, arrival), as a sorted ring.

A ring is better here than a heap. Requests of a model nearly always arrive in order of deadline, so an insertion from
the tail moves nothing; the first k are copied in one go; and requests with equal deadlines keep their order of
arrival.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import inner, kernel
from penstock.schedule.state.arrays import Queues
from penstock.units import NEVER_US


@inner
def is_full(queues: Queues, model: int) -> bool:
    """Whether the next :func:`push` needs a larger ring first."""
    return queues.length[model] == queues.request.shape[1]


@kernel
def push(queues: Queues, now_us: int, model: int, request: int, deadline_us: int) -> None:
    """Insert behind every request with the same or an earlier deadline; the model is due at once."""
    mask = queues.request.shape[1] - 1
    first = queues.first[model]
    place = queues.length[model]
    while place > 0:
        before = (first + place - 1) & mask
        if queues.deadline_us[model, before] <= deadline_us:
            break
        _move(queues, model, before, (before + 1) & mask)
        place -= 1
    at = (first + place) & mask
    queues.deadline_us[model, at] = deadline_us
    queues.request[model, at] = request
    queues.judged[model, at] = 0
    queues.arrived_us[model, at] = now_us
    queues.length[model] += 1
    queues.wake_us[model] = min(queues.wake_us[model], now_us)


@inner
def pop_head(queues: Queues, model: int) -> int:
    """Take the request with the earliest deadline."""
    mask = queues.request.shape[1] - 1
    first = queues.first[model]
    queues.first[model] = (first + 1) & mask
    queues.length[model] -= 1
    return queues.request[model, first]


@inner
def remove(queues: Queues, request: int) -> bool:
    """Take ``request`` out of the queue that it is in; its model is then due for a decision. False if in none."""
    mask = queues.request.shape[1] - 1
    for model in range(len(queues.length)):
        first = queues.first[model]
        count = queues.length[model]
        for place in range(count):
            if queues.request[model, (first + place) & mask] == request:
                for later in range(place + 1, count):
                    _move(queues, model, (first + later) & mask, (first + later - 1) & mask)
                queues.length[model] = count - 1
                # A shorter queue may wait longer. The model is due now, so that the next decision says how long.
                queues.wake_us[model] = 0 if count > 1 else NEVER_US
                return True
    return False


@inner
def _move(queues: Queues, model: int, source: int, target: int) -> None:
    queues.deadline_us[model, target] = queues.deadline_us[model, source]
    queues.request[model, target] = queues.request[model, source]
    queues.judged[model, target] = queues.judged[model, source]
    queues.arrived_us[model, target] = queues.arrived_us[model, source]
