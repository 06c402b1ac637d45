"""Probing and reserving a route: one worker for each stage, with the links between.

A batch crosses from host to host when the sender's uplink and the receiver's downlink are both free,
and holds both for the transfer. Between workers of one host it takes the same time (the plan budgets
it) and holds neither link. A worker is free from one time on: its pool's batches come in order, so
gaps before it are rare. Among workers that would finish at the same time, the one that is free for the longest is
taken, then the first by rank: an order that an index can keep, and that spreads batches over the interfaces.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import NONE, kernel
from penstock.schedule.link_kernels import first_fit, fit, hold
from penstock.schedule.pool_index import set_free
from penstock.schedule.state import PACE_OF_PROFILE, Actions, Facts, Reservations
from penstock.units import NEVER_US

_BEYOND_US = NEVER_US + NEVER_US // 2
"""Later than the start on any worker, even one that is down."""


@kernel
def probe(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    pipeline: int,
    batch: int,
    ready_us: int,
) -> int:
    """The earliest finish of a batch whose input is at hand at ``ready_us``; its route goes into ``row``."""
    sender = NONE
    first = facts.stage_first[pipeline]
    for stage in range(first, facts.stage_first[pipeline + 1]):
        worker = _fill_stage(facts, held, actions, row, stage, stage - first, batch, sender, ready_us)
        sender = facts.worker_host[worker]
        ready_us = actions.end_us[row, stage - first]
    return ready_us


@kernel
def _fill_stage(
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
    """The worker of ``stage`` that finishes first. A worker that is down is free at ``NEVER_US``."""
    transfer_us = facts.transfer_us[stage, batch]
    actions.start_us[row, column] = _BEYOND_US
    sendable_us = ready_us
    if sender >= 0 and transfer_us > 0:
        # Only workers of the sender's own host may have the input before its uplink is free.
        for place in range(facts.host_first[sender], facts.host_first[sender + 1]):
            worker = facts.host_worker[place]
            if facts.worker_pool[worker] == facts.stage_pool[stage]:
                _consider(facts, held, actions, row, column, worker, ready_us + transfer_us)
        sendable_us = fit(held.uplinks, sender, ready_us, transfer_us)
    _search(facts, held, actions, row, column, facts.stage_pool[stage], sender, sendable_us, transfer_us)
    work_us = -(-facts.latency_us[stage, batch] * held.pace[stage] // PACE_OF_PROFILE)
    actions.end_us[row, column] = actions.start_us[row, column] + work_us
    return actions.worker[row, column]


@kernel
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
    """Walk the pool's index from the worker that is free first, leaving out what cannot win."""
    soonest, path = held.soonest, held.path
    first = facts.pool_first[pool]
    workers = facts.pool_first[pool + 1] - first
    path[0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        node = path[depth]
        worker = soonest[2 * first + node]
        # What this part of the pool could do at best, were no downlink in the way.
        if not _wins(facts, held, actions, row, column, worker, sendable_us + transfer_us):
            continue
        if node >= workers:
            sent_us = sendable_us
            host = facts.worker_host[worker]
            if sender >= 0 and host != sender:
                sent_us = first_fit(held.uplinks, sender, held.downlinks, host, sendable_us, transfer_us)
            _consider(facts, held, actions, row, column, worker, sent_us + transfer_us)
            continue
        winner = 2 * node if soonest[2 * first + 2 * node] == worker else 2 * node + 1
        path[depth], path[depth + 1] = winner ^ 1, winner
        depth += 2


@kernel
def _consider(
    facts: Facts, held: Reservations, actions: Actions, row: int, column: int, worker: int, arrival_us: int
) -> None:
    """Note ``worker``, whose input arrives at ``arrival_us``, if it beats the one in ``row``."""
    if _wins(facts, held, actions, row, column, worker, arrival_us):
        actions.worker[row, column] = worker
        actions.ready_us[row, column] = arrival_us
        actions.start_us[row, column] = max(arrival_us, held.worker_free_us[worker])


@kernel
def _wins(
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


@kernel
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
    first = facts.stage_first[pipeline]
    for column in range(facts.stage_first[pipeline + 1] - first):
        worker = actions.worker[row, column]
        host = facts.worker_host[worker]
        if sender >= 0 and host != sender:
            arrival = actions.ready_us[row, column]
            sent = arrival - facts.transfer_us[first + column, batch]
            hold(held.uplinks, sender, now_us, sent, arrival)
            hold(held.downlinks, host, now_us, sent, arrival)
        set_free(facts, held, worker, actions.end_us[row, column])
        sender = host


@kernel
def choose_pipeline(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    model: int,
    now_us: int,
    deadline_us: int,
    every_size: bool,
) -> int:
    """The pipeline with the least waiting at its planned batch.

    One whose planned batch would miss the deadline comes after the others: as published only where that batch is 1,
    with ``every_size`` always. Ties go to the first.
    """
    first, stop = facts.pipeline_first[model], facts.pipeline_first[model + 1]
    if stop == first + 1:
        return first
    best, best_late, best_waiting_us = first, 2, 0
    for pipeline in range(first, stop):
        batch = facts.pipeline_batch[pipeline]
        finish_us = probe(facts, held, actions, row, pipeline, batch, now_us + facts.dispatch_us[0])
        waiting_us = finish_us - now_us - facts.work_us[pipeline, batch]
        late = 0
        if every_size or batch == 1:
            late = 1 if finish_us + facts.guard_us[pipeline, batch] > deadline_us else 0
        if late < best_late or (late == best_late and waiting_us < best_waiting_us):
            best, best_late, best_waiting_us = pipeline, late, waiting_us
    return best
