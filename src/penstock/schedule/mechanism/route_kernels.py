"""Find and reserve a route: one worker for each stage, and the links between them.

A transfer between two hosts starts when the sender's uplink and the receiver's downlink are both free, and holds both.
Between workers of one host it takes the same time (the plan reckons with it) and holds neither link. For each worker we
keep one time from which it is free: batches of a pool come in order, so gaps before that time are rare. If several
workers would finish at the same time, we take the one that has been free for the longest, then the first by rank. The
pool's tree can keep this order, and it spreads batches over the hosts.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import NONE, inner
from penstock.schedule.mechanism.link_kernels import first_fit, fit, hold
from penstock.schedule.mechanism.pool_tournament import set_free
from penstock.schedule.state.arrays import PACE_OF_PROFILE, Actions, Facts, Reservations
from penstock.units import NEVER_US

BEYOND_US = NEVER_US + NEVER_US // 2
"""Later than any start, even that on a worker that is down."""


@inner
def probe(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    pipeline: int,
    batch: int,
    ready_us: int,
) -> int:
    """The earliest finish of a batch whose input is there at ``ready_us``; writes its route into ``row``."""
    sender = NONE
    first = facts.stage_offsets[pipeline]
    for stage in range(first, facts.stage_offsets[pipeline + 1]):
        worker = fill_stage(facts, held, actions, row, stage, stage - first, batch, sender, ready_us)
        sender = facts.worker_host[worker]
        ready_us = actions.end_us[row, stage - first]
    return ready_us


@inner
def fill_stage(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    stage: int,
    column: int,
    batch: int,
    sender: int,
    ready_us: int,
) -> int:
    """Write the worker of ``stage`` that finishes first into ``row``. A worker that is down is free at ``NEVER_US``."""
    transfer_us = facts.transfer_us[stage, batch]
    actions.start_us[row, column] = BEYOND_US
    sendable_us = ready_us
    if sender >= 0 and transfer_us > 0:
        # Only a worker on the sender's own host can have the input before the uplink is free.
        for place in range(facts.host_offsets[sender], facts.host_offsets[sender + 1]):
            worker = facts.host_worker[place]
            if facts.worker_pool[worker] == facts.stage_pool[stage]:
                consider(facts, held, actions, row, column, worker, ready_us + transfer_us)
        sendable_us = fit(held.uplinks, sender, ready_us, transfer_us)
    _search(facts, held, actions, row, column, facts.stage_pool[stage], sender, sendable_us, transfer_us)
    work_us = -(-facts.latency_us[stage, batch] * held.pace[stage] // PACE_OF_PROFILE)
    actions.end_us[row, column] = actions.start_us[row, column] + work_us
    return actions.worker[row, column]


@inner
def _search(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    column: int,
    pool: int,
    sender: int,
    sendable_us: int,
    transfer_us: int,
) -> None:
    """Try the pool's worker that is free first; search the rest only if its downlink holds the batch up."""
    unhindered_us = sendable_us + transfer_us
    worker = held.soonest[2 * facts.pool_offsets[pool] + 1]
    if not wins(facts, held, actions, row, column, worker, unhindered_us):
        return
    arrival_us = arrival_of(facts, held, worker, sender, sendable_us, transfer_us)
    consider(facts, held, actions, row, column, worker, arrival_us)
    # If no downlink delays it, it starts as early as any worker of the pool could, so no other can start before.
    if arrival_us > max(unhindered_us, held.worker_free_us[worker]):
        _walk(facts, held, actions, row, column, pool, sender, sendable_us, transfer_us)


@inner
def _walk(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    column: int,
    pool: int,
    sender: int,
    sendable_us: int,
    transfer_us: int,
) -> None:
    """Search the pool's tree from the worker that is free first; skip each part that cannot have a better one."""
    soonest, path = held.soonest, held.path
    first = facts.pool_offsets[pool]
    workers = facts.pool_offsets[pool + 1] - first
    path[0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        node = path[depth]
        worker = soonest[2 * first + node]
        # The best that this part of the pool could do if no downlink delayed it.
        if not wins(facts, held, actions, row, column, worker, sendable_us + transfer_us):
            continue
        if node >= workers:
            arrival_us = arrival_of(facts, held, worker, sender, sendable_us, transfer_us)
            consider(facts, held, actions, row, column, worker, arrival_us)
            continue
        winner = 2 * node if soonest[2 * first + 2 * node] == worker else 2 * node + 1
        path[depth], path[depth + 1] = winner ^ 1, winner
        depth += 2


@inner
def arrival_of(
    facts: Facts, held: Reservations, worker: int, sender: int, sendable_us: int, transfer_us: int
) -> int:
    """When the input reaches ``worker``, of the sender's host or over the links."""
    host = facts.worker_host[worker]
    if sender < 0 or host == sender:
        return sendable_us + transfer_us
    return transfer_us + first_fit(held.uplinks, sender, held.downlinks, host, sendable_us, transfer_us)


@inner
def consider(
    facts: Facts, held: Reservations, actions: Actions, row: int, column: int, worker: int, arrival_us: int
) -> None:
    """Write ``worker``, whose input arrives at ``arrival_us``, into ``row`` if it is better than the one there."""
    if wins(facts, held, actions, row, column, worker, arrival_us):
        actions.worker[row, column] = worker
        actions.ready_us[row, column] = arrival_us
        actions.start_us[row, column] = max(arrival_us, held.worker_free_us[worker])


@inner
def wins(
    facts: Facts, held: Reservations, actions: Actions, row: int, column: int, worker: int, arrival_us: int
) -> bool:
    """Whether ``worker`` comes before the one in ``row``, by (start, free since, rank)."""
    best, best_us = actions.worker[row, column], actions.start_us[row, column]
    free_us = held.worker_free_us[worker]
    start_us = max(arrival_us, free_us)
    if start_us != best_us:
        return start_us < best_us
    if free_us != held.worker_free_us[best]:
        return free_us < held.worker_free_us[best]
    return facts.worker_rank[worker] < facts.worker_rank[best]


@inner
def reserve(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    pipeline: int,
    now_us: int,
    batch: int,
) -> None:
    """Hold the workers and links of the route that the last probe, of ``batch``, left in ``row``."""
    sender = NONE
    first = facts.stage_offsets[pipeline]
    for column in range(facts.stage_offsets[pipeline + 1] - first):
        worker = actions.worker[row, column]
        host = facts.worker_host[worker]
        if sender >= 0 and host != sender:
            arrival = actions.ready_us[row, column]
            sent = arrival - facts.transfer_us[first + column, batch]
            hold(held.uplinks, sender, now_us, sent, arrival)
            hold(held.downlinks, host, now_us, sent, arrival)
        set_free(facts, held, worker, actions.end_us[row, column])
        sender = host


@inner
def columns_of(facts: Facts, pipeline: int, batch: int) -> int:
    """The columns of a route: one for each stage, for a ``batch`` of any size."""
    return facts.stage_offsets[pipeline + 1] - facts.stage_offsets[pipeline]


@inner
def waiting_of(
    facts: Facts, actions: Actions, row: int, pipeline: int, batch: int, ready_us: int, finish_us: int
) -> int:
    """How long the ``batch`` of the last probe waits on its way, from ``ready_us`` to ``finish_us``."""
    first = facts.stage_offsets[pipeline]
    waiting_us = finish_us - ready_us
    for stage in range(first, facts.stage_offsets[pipeline + 1]):
        column = stage - first
        waiting_us -= actions.end_us[row, column] - actions.start_us[row, column]
        waiting_us -= facts.transfer_us[stage, batch]
    return waiting_us


@inner
def begin_of(facts: Facts, actions: Actions, row: int, pipeline: int, batch: int) -> int:
    """When the first stage of the last probe begins."""
    return actions.start_us[row, 0]
