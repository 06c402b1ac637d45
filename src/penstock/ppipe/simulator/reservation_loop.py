"""Reservations with adaptive batching, with the published simulator's simplifications, as fast as they allow.

The rule is that of :mod:`penstock.schedule.rules.reservation_kernels`, which explains it. The
simplifications save work in three ways. Receivers never wait, so the worker of a pool that is free first also
finishes first, and only workers that are idle at the same time must be compared. Execution is exact, so no completion
must be reported. A model's deadlines come in order of arrival, so its queue is a window of the arrivals,
``[HEAD, NEXT)``.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np

from penstock.arrays import I64
from penstock.ppipe.simulator.fleet import Fleet, Pools
from penstock.record import Outcome
from penstock.schedule.kernel import NONE, ONE, inner, kernel
from penstock.schedule.mechanism.link_kernels import fit, hold, promised_until
from penstock.schedule.state.arrays import Links
from penstock.simulate.world import BatchLog, RequestLog
from penstock.units import NEVER_US

NOW, HEAD, NEXT, WAKE, JUDGED, BATCH = 0, 1, 2, 3, 4, 5
CURSOR = 6
"""Positions in the cursor, and their number."""
MORE, LOG_FULL = 0, 1
_MET, _LATE = int(Outcome.MET), int(Outcome.LATE)
_EARLY, _DEADLINE = np.int64(Outcome.DROPPED_EARLY), np.int64(Outcome.DROPPED_DEADLINE)


@kernel
def run(
    fleet: Fleet,
    pools: Pools,
    uplinks: Links,
    arrival_us: I64,
    last: bool,
    cursor: I64,
    counts: I64,
    busy_us: I64,
    log: BatchLog,
    requests: RequestLog,
    recorded: bool,
) -> int:
    """Process the events up to the last of ``arrival_us``. If it is the ``last`` chunk, process those after it too.

    ``arrival_us`` begins with the requests that are still queued. ``counts`` (outcomes,), ``busy_us`` (stages,) add
    up.
    """
    while True:
        while cursor[WAKE] <= cursor[NOW]:
            if recorded and cursor[BATCH] == len(log.size):
                return LOG_FULL
            _step(fleet, pools, uplinks, arrival_us, cursor, counts, busy_us, log, requests, recorded)
        next_us = NEVER_US
        if cursor[NEXT] < len(arrival_us):
            next_us = arrival_us[cursor[NEXT]]
        elif not last:
            return MORE
        if min(next_us, cursor[WAKE]) == NEVER_US:
            return MORE
        if cursor[WAKE] <= next_us:
            cursor[NOW] = cursor[WAKE]
        else:
            cursor[NEXT] += 1
            cursor[NOW] = cursor[WAKE] = next_us


@inner
def _step(
    fleet: Fleet,
    pools: Pools,
    uplinks: Links,
    arrival_us: I64,
    cursor: I64,
    counts: I64,
    busy_us: I64,
    log: BatchLog,
    requests: RequestLog,
    recorded: bool,
) -> None:
    """One action, or the time at which to continue."""
    count = cursor[NEXT] - cursor[HEAD]
    if count == 0:
        cursor[WAKE] = NEVER_US
        return
    now_us = cursor[NOW]
    deadline_us = arrival_us[cursor[HEAD]] + fleet.slo_us[0]
    pipeline = _choose_pipeline(fleet, pools, uplinks, now_us, deadline_us)
    planned = fleet.pipeline_batch[pipeline]
    if cursor[JUDGED] == 0:
        least = max(1, (95 * planned + 50) // 100)
        if _largest(fleet, pools, uplinks, pipeline, least, planned, now_us, deadline_us) == 0:
            _drop(cursor, counts, requests, _EARLY, recorded)
            return
        cursor[JUDGED] = 1
    if count < planned:
        slack_us = deadline_us - _probe(fleet, pools, uplinks, pipeline, count + 1, now_us)
        if slack_us > 0:
            cursor[WAKE] = now_us + slack_us
            return
    size = _largest(fleet, pools, uplinks, pipeline, ONE, min(count, planned), now_us, deadline_us)
    if size == 0:
        _drop(cursor, counts, requests, _DEADLINE, recorded)
        return
    finish_us = _dispatch(
        fleet, pools, uplinks, pipeline, size, now_us, busy_us, log, cursor[BATCH], recorded
    )
    if recorded:
        _answer(requests, cursor, pipeline, size, finish_us)
    for index in range(size):
        late = finish_us > arrival_us[cursor[HEAD] + index] + fleet.slo_us[0]
        counts[_LATE if late else _MET] += 1
    cursor[HEAD] += size
    cursor[BATCH] += 1
    cursor[JUDGED] = 0


@inner
def _drop(cursor: I64, counts: I64, requests: RequestLog, cause: int, recorded: bool) -> None:
    if recorded:
        requests.outcome[cursor[HEAD]] = cause
    counts[cause] += 1
    cursor[HEAD] += 1
    cursor[JUDGED] = 0


@inner
def _choose_pipeline(fleet: Fleet, pools: Pools, uplinks: Links, now_us: int, deadline_us: int) -> int:
    """The pipeline with the least waiting at its planned batch. Those that are late even at batch 1 come last."""
    pipelines = len(fleet.pipeline_batch)
    if pipelines == 1:
        return 0
    best, best_late, best_waiting_us = 0, 2, 0
    for pipeline in range(pipelines):
        batch = fleet.pipeline_batch[pipeline]
        finish_us = _probe(fleet, pools, uplinks, pipeline, batch, now_us)
        waiting_us = finish_us - now_us - fleet.work_us[pipeline, batch]
        late = 1 if batch == 1 and finish_us > deadline_us else 0
        if late < best_late or (late == best_late and waiting_us < best_waiting_us):
            best, best_late, best_waiting_us = pipeline, late, waiting_us
    return best


@inner
def _largest(
    fleet: Fleet,
    pools: Pools,
    uplinks: Links,
    pipeline: int,
    least: int,
    most: int,
    now_us: int,
    deadline_us: int,
) -> int:
    """The largest batch in ``[least, most]`` that meets the deadline. 0 if there is none."""
    for batch in range(most, least - 1, -1):
        if _probe(fleet, pools, uplinks, pipeline, batch, now_us) <= deadline_us:
            return batch
    return 0


@inner
def _probe(fleet: Fleet, pools: Pools, uplinks: Links, pipeline: int, batch: int, ready_us: int) -> int:
    """The earliest finish of a batch whose input is available at ``ready_us``."""
    first, stop = fleet.stage_offsets[pipeline], fleet.stage_offsets[pipeline + 1]
    sender = NONE
    for stage in range(first, stop):
        transfer_us = fleet.transfer_us[stage, batch]
        if sender >= 0 and transfer_us > 0:
            ready_us = fit(uplinks, sender, ready_us, transfer_us) + transfer_us
        place = _pick(fleet, pools, uplinks, stage, ready_us, batch, stage == stop - 1)
        ready_us = max(ready_us, pools.free_us[stage, place]) + fleet.latency_us[stage, batch]
        sender = fleet.uplink[pools.worker[stage, place]]
    return ready_us


@inner
def _pick(
    fleet: Fleet, pools: Pools, uplinks: Links, stage: int, ready_us: int, batch: int, is_last: bool
) -> int:
    """The position of the worker that finishes first: the pool's first, or one that is also idle and sends sooner.

    If several workers would finish at the same time, it is the first one whose uplink is not reserved then. If there
    is none, it is the one whose uplink is reserved for the shortest time.
    """
    first = pools.first[stage]
    if is_last or pools.free_us[stage, first] > ready_us:
        return first
    end_us = ready_us + fleet.latency_us[stage, batch]
    size = fleet.worker_offsets[stage + 1] - fleet.worker_offsets[stage]
    place, best, best_until_us = first, first, NEVER_US
    for _ in range(size):
        until_us = promised_until(uplinks, fleet.uplink[pools.worker[stage, place]])
        if until_us < best_until_us:
            best, best_until_us = place, until_us
        place = place + 1 if place + 1 < size else 0
        if best_until_us <= end_us or pools.free_us[stage, place] > ready_us:
            break
    return best


@inner
def _dispatch(
    fleet: Fleet,
    pools: Pools,
    uplinks: Links,
    pipeline: int,
    batch: int,
    now_us: int,
    busy_us: I64,
    log: BatchLog,
    row: int,
    recorded: bool,
) -> int:
    """Reserve the route that :func:`_probe` finds, and return its finish."""
    first, stop = fleet.stage_offsets[pipeline], fleet.stage_offsets[pipeline + 1]
    ready_us, sender = now_us, NONE
    for stage in range(first, stop):
        transfer_us = fleet.transfer_us[stage, batch]
        if sender >= 0 and transfer_us > 0:
            ready_us = fit(uplinks, sender, ready_us, transfer_us)
            hold(uplinks, sender, now_us, ready_us, ready_us + transfer_us)
            ready_us += transfer_us
        place = _pick(fleet, pools, uplinks, stage, ready_us, batch, stage == stop - 1)
        worker = pools.worker[stage, place]
        start_us = max(ready_us, pools.free_us[stage, place])
        end_us = start_us + fleet.latency_us[stage, batch]
        _take(pools, stage, place, fleet.worker_offsets[stage + 1] - fleet.worker_offsets[stage], end_us)
        busy_us[stage] += end_us - start_us
        if recorded:
            log.worker[row, stage - first] = worker
            log.queued_us[row, stage - first] = ready_us
            log.start_us[row, stage - first], log.end_us[row, stage - first] = start_us, end_us
            log.transfer_us[row, stage - first] = transfer_us
        ready_us, sender = end_us, fleet.uplink[worker]
    if recorded:
        log.model[row], log.pipeline[row], log.size[row] = 0, pipeline, batch
    return ready_us


@inner
def _take(pools: Pools, stage: int, place: int, size: int, end_us: int) -> None:
    """The worker at ``place`` is free from ``end_us`` onwards. It moves back, before those that are free later."""
    free_us, worker = pools.free_us, pools.worker
    taken, back = worker[stage, place], pools.first[stage]
    # Those before it move up by one. So the first position becomes empty, and then becomes the last.
    while place != back:
        before = place - 1 if place > 0 else size - 1
        free_us[stage, place], worker[stage, place] = free_us[stage, before], worker[stage, before]
        place = before
    pools.first[stage] = back + 1 if back + 1 < size else 0
    for _ in range(size - 1):
        before = place - 1 if place > 0 else size - 1
        if free_us[stage, before] <= end_us:
            break
        free_us[stage, place], worker[stage, place] = free_us[stage, before], worker[stage, before]
        place = before
    free_us[stage, place], worker[stage, place] = end_us, taken


@inner
def _answer(requests: RequestLog, cursor: I64, pipeline: int, size: int, finish_us: int) -> None:
    for request in range(cursor[HEAD], cursor[HEAD] + size):
        requests.pipeline[request] = pipeline
        requests.batch[request] = cursor[BATCH]
        requests.finish_us[request] = finish_us
        requests.outcome[request] = _LATE if finish_us > requests.deadline_us[request] else _MET
