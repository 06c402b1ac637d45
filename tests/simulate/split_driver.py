"""The plain driver for fleets with split stages: a column of the log is a piece, stage by stage."""

from __future__ import annotations

import heapq

from plain_driver import _COMPLETION, _Run

from penstock.record import Record
from penstock.schedule.pieces import Step, steps
from penstock.schedule.policy import Dispatch, Policy
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import grow_batch_log, make_batch_log, make_record
from penstock.simulate.noise import noise_source
from penstock.traffic.arrivals import Arrivals


class _ByColumn:
    """A policy that is told of columns."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.arrive = policy.arrive
        self.steps: dict[int, tuple[Step, ...]] = {}

    def decide(self, now_us: int):
        decision = self._policy.decide(now_us)
        self.steps |= {dispatch.batch: steps(dispatch) for dispatch in decision.dispatches}
        return decision

    def complete(self, now_us: int, batch: int, column: int) -> None:
        step = self.steps[batch][column]
        self._policy.complete(now_us, batch, step.stage, step.piece)


class SplitRun(_Run):
    """The state of one simulation."""

    def execute(self, now_us: int, dispatch: Dispatch) -> None:
        batch, size = dispatch.batch, len(dispatch.requests)
        self.n_batches = max(self.n_batches, batch + 1)
        while batch >= len(self.log.size):
            self.log = grow_batch_log(self.log, self.rng)
        log = self.log
        log.model[batch], log.pipeline[batch], log.size[batch] = dispatch.model, dispatch.pipeline, size
        ended: dict[tuple[int, int], tuple[int, int]] = {}
        route = steps(dispatch)
        for column, step in enumerate(route):
            stage = int(self.table.stage_offsets[dispatch.pipeline]) + step.stage
            host = int(self.table.worker_host[step.worker])
            ready_us, busy_us, moved_us = (now_us + self.dispatch_us if step.stage == 0 else 0), 0, 0
            for sender in route:
                rows = min(step.end, sender.end) - max(step.begin, sender.begin)
                if sender.stage != step.stage - 1 or rows <= 0:
                    continue
                sender_host, end_us = ended[sender.stage, sender.piece]
                is_linked = sender_host != host and self.table.transfer_us[stage, rows] > 0
                from_us = max(end_us, busy_us) if is_linked else end_us
                there_us = self.receive(stage, rows, sender_host, host, from_us)
                busy_us = there_us if is_linked else busy_us
                ready_us = max(ready_us, there_us)
                moved_us += int(self.table.transfer_us[stage, rows])
            start_us = max(ready_us, self.worker_free[step.worker])
            end_us = start_us + self.work_us(batch, column, stage, step.end - step.begin)
            log.worker[batch, column] = step.worker
            log.queued_us[batch, column] = ready_us if step.stage else now_us
            log.start_us[batch, column], log.end_us[batch, column] = start_us, end_us
            log.transfer_us[batch, column] = moved_us
            self.worker_free[step.worker] = end_us
            ended[step.stage, step.piece] = host, end_us
            heapq.heappush(self.events, (end_us, _COMPLETION, next(self.sequence), batch, column))
        self.answer(dispatch, max(end_us for _, end_us in ended.values()) + self.overhead_us)


def drive_split(
    policy: Policy,
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    model_names,
    seed,
    noise=False,
    dispatch_us=0,
    overhead_us=0,
) -> Record:
    """As :func:`plain_driver.drive`."""
    run = SplitRun(_ByColumn(policy), table, arrivals, model_names, seed, noise, dispatch_us, overhead_us)
    columns = max(
        sum(table.stage_pieces[a:b].tolist())
        for a, b in zip(table.stage_offsets[:-1], table.stage_offsets[1:], strict=True)
    )
    run.rng = noise_source(seed)
    run.log = make_batch_log(1024, columns, run.rng)
    run.to_end()
    return make_record(table, model_names, run.requests, run.log, run.n_batches)
