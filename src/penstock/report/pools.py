"""How busy each pool was: the worker time that batches took, divided by the time that the pool had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.errors import BadInputError
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.shared_pools import Pool, PoolStage, pools_of
from penstock.record import Record
from penstock.report.utilisation import busy_by_turns

MOST_NAMED = 3
"""The most stages of a shared pool that its label names."""


@dataclass(frozen=True)
class PoolUse:
    """One pool over a record: the share of its workers' time spent on batches, and the mean batch size."""

    pool: Pool
    batches: int
    mean_batch: float
    utilisation: float

    @property
    def workers(self) -> int:
        """The number of workers of the pool."""
        return self.pool.workers

    @property
    def label(self) -> str:
        """A short name for tables and axes: the stages that the pool serves."""
        stages = self.pool.stages
        named = ", ".join(_named(stage) for stage in stages[:MOST_NAMED])
        more = f" and {len(stages) - MOST_NAMED} more" if len(stages) > MOST_NAMED else ""
        return f"{named}{more} on {stages[0].plan.device_class}"


def _named(stage: PoolStage) -> str:
    start, stop = stage.plan.blocks
    return f"{stage.model} p{stage.pipeline} s{stage.place}: [{start}, {stop})"


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
    if plan.scheduled is not None:
        return _turn_uses(record, plan, start_us, start_us + window_us)
    return [_pool_use(record, pool, window_us) for pool in pools_of(plan)]


def _turn_uses(record: Record, plan: Plan, start_us: int, stop_us: int) -> list[PoolUse]:
    """The devices of each class as one pool: their models take turns on them, so a device is busy if any runs."""
    busy = busy_by_turns(record, len(plan.devices), start_us, stop_us)
    uses = []
    for name, pool in _pools_by_class(plan).items():
        own = np.array([number for number, device in enumerate(plan.devices) if device[0] == name])
        sizes = record.batches.size[np.isin(record.batches.worker, own)]
        mean = float(sizes.mean()) if sizes.size else 0.0
        uses.append(PoolUse(pool, len(sizes), mean, float(busy[own].mean())))
    return uses


def _pools_by_class(plan: Plan) -> dict[str, Pool]:
    stages: dict[str, tuple[PoolStage, ...]] = {}
    for pool in pools_of(plan):
        name = pool.stages[0].plan.device_class
        stages[name] = (*stages.get(name, ()), *pool.stages)
    return {name: Pool(own) for name, own in stages.items()}


def _pool_use(record: Record, pool: Pool, window_us: int) -> PoolUse:
    batches = record.batches
    rows = np.zeros(len(batches.batch), dtype=np.bool_)
    for stage in pool.stages:
        rows |= (
            (batches.model == record.models.index(stage.model))
            & (batches.pipeline == stage.pipeline)
            & (batches.stage == stage.place)
        )
    busy_us = int((batches.end_us - batches.start_us)[rows].sum())
    count = int(rows.sum())
    return PoolUse(
        pool,
        batches=count,
        mean_batch=float(batches.size[rows].mean()) if count else 0.0,
        utilisation=busy_us / (window_us * pool.workers),
    )
