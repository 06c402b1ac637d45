"""Probing and reserving a route: one worker for each stage, with the links between.

A batch crosses from host to host when the sender's uplink and the receiver's downlink are both free,
and holds both for the transfer. Between workers of one host it takes the same time (the plan budgets
it) and holds neither link. A worker is free from one time on: its pool's batches come in order, so
gaps before it are rare. Among workers that would finish at the same time, the one whose host's uplink
is promised for the shortest time is taken, then the first in order: it keeps consecutive batches off one interface.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import NONE, kernel
from penstock.schedule.link_kernels import first_fit, fit, hold
from penstock.schedule.state import Actions, Facts, Reservations
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
    work_us = facts.latency_us[stage, batch]
    sendable_us = ready_us
    if sender >= 0 and transfer_us > 0:
        sendable_us = fit(held.uplinks, sender, ready_us, transfer_us)
    best = facts.worker_first[stage]
    best_start, best_arrival, best_uplink = _BEYOND_US, 0, 0
    for worker in range(facts.worker_first[stage], facts.worker_first[stage + 1]):
        free_us = held.worker_free_us[worker]
        host = facts.worker_host[worker]
        uplink = held.uplinks.until_us[host]
        # Most workers lose by this bound alone: only the others are worth a look at their links.
        sent = ready_us if host == sender else sendable_us
        bound = max(sent + transfer_us, free_us)
        if bound > best_start or (bound == best_start and uplink >= best_uplink):
            continue
        if sender >= 0 and host != sender:
            sent = first_fit(held.uplinks, sender, held.downlinks, host, sent, transfer_us)
        arrival = sent + transfer_us
        start = max(arrival, free_us)
        if start < best_start or (start == best_start and uplink < best_uplink):
            best, best_start, best_arrival, best_uplink = worker, start, arrival, uplink
    actions.worker[row, column] = best
    actions.ready_us[row, column] = best_arrival
    actions.start_us[row, column] = best_start
    actions.end_us[row, column] = best_start + work_us
    return best


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
        held.worker_free_us[worker] = actions.end_us[row, column]
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
) -> int:
    """The pipeline with the least waiting at its planned batch.

    One whose planned batch is 1 and would miss the deadline comes after the others; ties go to the first.
    """
    first, stop = facts.pipeline_first[model], facts.pipeline_first[model + 1]
    if stop == first + 1:
        return first
    best, best_late, best_waiting_us = first, 2, 0
    for pipeline in range(first, stop):
        batch = facts.pipeline_batch[pipeline]
        finish_us = probe(facts, held, actions, row, pipeline, batch, now_us + facts.dispatch_us[0])
        waiting_us = finish_us - now_us - facts.work_us[pipeline, batch]
        late = 1 if batch == 1 and finish_us + facts.guard_us[pipeline, batch] > deadline_us else 0
        if late < best_late or (late == best_late and waiting_us < best_waiting_us):
            best, best_late, best_waiting_us = pipeline, late, waiting_us
    return best
