"""How busy each pool was: the worker time that batches took, over the time that the pool had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.errors import BadInputError
from penstock.plan.plan import Plan
from penstock.record import Record


@dataclass(frozen=True)
class PoolUse:
    """One pool over a record: the share of its workers' time spent on batches, and the mean batch size."""

    model: str
    pipeline: int
    stage: int
    device_class: str
    blocks: tuple[int, int]
    workers: int
    batches: int
    mean_batch: float
    utilisation: float

    @property
    def label(self) -> str:
        """A short name for tables and axes."""
        start, stop = self.blocks
        return f"{self.model} p{self.pipeline} s{self.stage}: [{start}, {stop}) on {self.device_class}"


def pool_uses(record: Record, plan: Plan) -> list[PoolUse]:
    """The use of every pool of ``plan``, in plan order, from the first arrival to the last batch's end.

    Raises :class:`BadInputError` for a record of other models than the plan's.
    """
    planned = [model.name for model in plan.models]
    if list(record.models) != planned:
        raise BadInputError(
            f"the record has models {', '.join(record.models)}, but the plan before it serves "
            f"{', '.join(planned)}. Name the record after its own plan."
        )
    batches = record.batches
    if not batches.start_us.size:
        return []
    start_us = int(record.requests.arrival_us.min())
    window_us = max(int(batches.end_us.max()) - start_us, 1)
    return [_pool_use(record, pool, window_us) for pool in _pools(plan)]


def _pools(plan: Plan) -> Iterator[PoolUse]:
    """Every pool of the plan, unused as yet."""
    for model in plan.models:
        for p, pipeline in enumerate(model.pipelines):
            for s, stage in enumerate(pipeline.stages):
                yield PoolUse(model.name, p, s, stage.device_class, stage.blocks, stage.workers, 0, 0.0, 0.0)


def _pool_use(record: Record, pool: PoolUse, window_us: int) -> PoolUse:
    batches = record.batches
    rows = (
        (batches.model == record.models.index(pool.model))
        & (batches.pipeline == pool.pipeline)
        & (batches.stage == pool.stage)
    )
    busy_us = int((batches.end_us - batches.start_us)[rows].sum())
    count = int(rows.sum())
    return PoolUse(
        pool.model,
        pool.pipeline,
        pool.stage,
        pool.device_class,
        pool.blocks,
        pool.workers,
        batches=count,
        mean_batch=float(batches.size[rows].mean()) if count else 0.0,
        utilisation=busy_us / (window_us * pool.workers),
    )
