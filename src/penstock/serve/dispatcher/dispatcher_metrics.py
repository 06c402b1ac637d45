"""What the dispatcher counts: what every stage and pool did, and how far its predictions were off.

A stage that worker w runs is counted for the pool of w. The error of a reservation is the real end of a stage less the
end that was reserved for it when its batch was dispatched; corrections made later do not change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import final

from penstock.serve.messages import StageDone
from penstock.serve.observe.catalogue import (
    BATCH_FAILURES,
    BATCH_FILL,
    BUSY,
    MILLION,
    POOL_DEATHS,
    POOL_UP,
    POOL_WORKERS,
    RESERVATION_EARLY,
    RESERVATION_LATE,
    STAGE_INFO,
    STAGE_RUN,
    STAGE_TRANSFER,
    STAGE_WAIT,
    Family,
)
from penstock.serve.observe.counter_file import (
    Counters,
    HistogramCells,
    Labels,
    ProcessMeter,
    counters_path,
)
from penstock.serve.spec import ServerSpec

NAME = "dispatcher"
_BY_STAGE = (STAGE_WAIT, STAGE_RUN, STAGE_TRANSFER, RESERVATION_LATE, RESERVATION_EARLY)
_BY_POOL = (BUSY, POOL_WORKERS, POOL_UP, POOL_DEATHS, BATCH_FAILURES)


@final
class PlanMetrics:
    """The counters of the plan of one epoch; ``folder`` is the run's, or None to keep them in this process."""

    def __init__(self, spec: ServerSpec, folder: Path | None = None) -> None:
        table = spec.dispatch_table()
        self._stage_offsets: list[int] = table.stage_offsets.tolist()
        # A first stage that is split is filled piece by piece.
        self._planned_first: list[int] = table.piece_batch[table.stage_offsets[:-1]].tolist()
        pools: list[int] = table.pool_of_worker.tolist()
        self._pool_of = {spec.first_worker + place: pool for place, pool in enumerate(pools)}
        names = _Names(spec, table.pool_of_stage.tolist())
        path = None if folder is None else counters_path(folder, f"plan-{spec.epoch}")
        self.counters = counters = Counters(names.series(), path)
        self._fill = [counters.histogram(BATCH_FILL, labels) for labels in names.pipelines]
        self._stages = [_StageCells(counters, labels) for labels in names.stages]
        self._pools = {pool: _PoolCells(counters, labels) for pool, labels in names.pools.items()}
        for labels in names.info:
            counters.cell(STAGE_INFO, labels).set(1)
        for pool, cells in self._pools.items():
            cells.workers.set(pools.count(pool))
        self._up: set[int] = set()

    @property
    def workers(self) -> Iterable[int]:
        """The numbers of the plan's workers."""
        return self._pool_of

    def stage_done(self, message: StageDone, reserved_us: int | None) -> None:
        """A batch left a stage; ``reserved_us``: when it should have, by the prediction at its dispatch."""
        pool = self._pool_of.get(message.worker)
        if pool is None:
            return  # a report that fits no plan: the dispatcher has its say on it
        cells = self._stages[self._stage_offsets[message.pipeline] + message.stage]
        busy_us = max(message.end_us - message.start_us, 0)
        if message.stage == 0:
            planned = self._planned_first[message.pipeline]
            self._fill[message.pipeline].observe(message.size * MILLION // planned)
        cells.wait.observe(max(message.start_us - message.queued_us, 0))
        cells.run.observe(busy_us)
        cells.transfer.observe(max(message.transfer_us, 0))
        self._pools[pool].busy.add(busy_us)
        if reserved_us is None:
            return
        error_us = message.end_us - reserved_us
        if error_us > 0:
            cells.late.observe(error_us)
        else:
            cells.early.observe(-error_us)

    def batch_failed(self, worker: int) -> None:
        """``worker`` could not run a batch."""
        if worker in self._pool_of:
            self._pools[self._pool_of[worker]].failures.add()

    def worker_up(self, worker: int) -> None:
        """``worker`` can serve."""
        self._up.add(worker)
        self._count_up(self._pool_of[worker])

    def worker_down(self, worker: int) -> None:
        """``worker`` went down."""
        pool = self._pool_of[worker]
        self._up.discard(worker)
        self._pools[pool].deaths.add()
        self._count_up(pool)

    def _count_up(self, pool: int) -> None:
        self._pools[pool].up.set(sum(self._pool_of[worker] == pool for worker in self._up))


@final
class DispatcherMetrics:
    """The counters of one dispatcher: those of its plans, and its own use of the machine."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._meter = ProcessMeter(NAME, folder)
        self._plans: dict[int, PlanMetrics] = {}

    def add_plan(self, spec: ServerSpec) -> None:
        """Count for the plan of ``spec``."""
        self._plans[spec.epoch] = PlanMetrics(spec, self._folder)

    def end_plan(self, epoch: int) -> None:
        """The plan of ``epoch`` is over: it has no workers any more. What it counted stays."""
        plan = self._plans.pop(epoch, None)
        if plan is not None:
            plan.counters.end()

    def stage_done(self, message: StageDone, reserved_us: int | None) -> None:
        """A batch left a stage."""
        plan = self._plans.get(message.epoch)
        if plan is not None:
            plan.stage_done(message, reserved_us)

    def batch_failed(self, worker: int) -> None:
        """``worker`` could not run a batch."""
        for plan in self._plans.values():
            plan.batch_failed(worker)

    def worker_up(self, worker: int) -> None:
        """``worker`` can serve."""
        for plan in self._of(worker):
            plan.worker_up(worker)

    def worker_down(self, worker: int) -> None:
        """``worker`` went down."""
        for plan in self._of(worker):
            plan.worker_down(worker)

    def measure(self, now_us: int) -> None:
        """Note this process's own use of the machine."""
        self._meter.measure(now_us)

    def _of(self, worker: int) -> list[PlanMetrics]:
        return [plan for plan in self._plans.values() if worker in plan.workers]


@final
class _PoolCells:
    """The counters of one pool."""

    __slots__ = ("busy", "deaths", "failures", "up", "workers")

    def __init__(self, counters: Counters, labels: Labels) -> None:
        self.busy = counters.cell(BUSY, labels)
        self.workers = counters.cell(POOL_WORKERS, labels)
        self.up = counters.cell(POOL_UP, labels)
        self.deaths = counters.cell(POOL_DEATHS, labels)
        self.failures = counters.cell(BATCH_FAILURES, labels)


@final
class _StageCells:
    """The histograms of one stage."""

    __slots__ = ("early", "late", "run", "transfer", "wait")

    def __init__(self, counters: Counters, labels: Labels) -> None:
        self.wait: HistogramCells = counters.histogram(STAGE_WAIT, labels)
        self.run: HistogramCells = counters.histogram(STAGE_RUN, labels)
        self.transfer: HistogramCells = counters.histogram(STAGE_TRANSFER, labels)
        self.late: HistogramCells = counters.histogram(RESERVATION_LATE, labels)
        self.early: HistogramCells = counters.histogram(RESERVATION_EARLY, labels)


class _Names:
    """The label values of a plan's pipelines, stages and pools."""

    def __init__(self, spec: ServerSpec, pool_of_stage: Sequence[int]) -> None:
        stages = spec.stages
        offsets: list[int] = spec.table["stage_offsets"]
        self.pools: dict[int, Labels] = {}
        self.pipelines: list[Labels] = []
        self.stages: list[Labels] = []
        self.info: list[Labels] = []
        for first, stop in pairwise(offsets):
            head = stages[first]
            pipeline = (spec.models[head.model].name, str(head.pipeline))
            self.pipelines.append(pipeline)
            for number in range(first, stop):
                stage = stages[number]
                labels = (*pipeline, str(number - first))
                pool = (str(pool_of_stage[number]), stage.device_class, str(stage.share))
                self.stages.append(labels)
                self.pools.setdefault(pool_of_stage[number], pool)
                self.info.append((*labels, *pool, f"{stage.blocks[0]}-{stage.blocks[1]}"))

    def series(self) -> Iterator[tuple[Family, Labels]]:
        """All series of a dispatcher."""
        yield from ((BATCH_FILL, labels) for labels in self.pipelines)
        yield from ((family, labels) for labels in self.stages for family in _BY_STAGE)
        yield from ((STAGE_INFO, labels) for labels in self.info)
        yield from ((family, labels) for labels in self.pools.values() for family in _BY_POOL)
