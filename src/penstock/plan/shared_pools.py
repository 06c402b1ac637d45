"""Shared pools: stages of one kind, whatever their models, served by one pool of workers.

Stages are of one kind where device class, share and place in the pipeline agree; sharing between places too measured
no better. A worker of a shared pool holds every piece that the pool serves, and runs whichever is due. That makes
pools larger, which gains where slacks are alike and loses where they are not: docs/decisions/0009-policy.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.checker import check_plan
from penstock.plan.plan import Plan, StagePlan
from penstock.profile.table import Profile


@dataclass(frozen=True)
class PoolStage:
    """A stage of a plan: ``pipeline`` counts within the model, ``place`` within the pipeline."""

    model: str
    pipeline: int
    place: int
    plan: StagePlan


@dataclass(frozen=True)
class Pool:
    """Stages that the same workers serve, as many as the stages have together."""

    stages: tuple[PoolStage, ...]

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return sum(stage.plan.workers for stage in self.stages)


def pools_of(plan: Plan) -> list[Pool]:
    """The pools of ``plan``, by the first of their stages; of one stage each unless the plan shares them."""
    pools: dict[int, list[PoolStage]] = {}
    for stage, pool in zip(_stages(plan), stage_pools(plan), strict=True):
        pools.setdefault(pool, []).append(stage)
    return [Pool(tuple(stages)) for stages in pools.values()]


def stage_pools(plan: Plan) -> list[int]:
    """The number of the pool of every stage, in the plan's order."""
    stages = list(_stages(plan))
    if not plan.shared_pools:
        return list(range(len(stages)))
    kinds = [(stage.plan.device_class, stage.plan.share, stage.place) for stage in stages]
    number = {kind: pool for pool, kind in enumerate(dict.fromkeys(kinds))}
    return [number[kind] for kind in kinds]


def _stages(plan: Plan) -> Iterator[PoolStage]:
    for model in plan.models:
        for number, pipeline in enumerate(model.pipelines):
            for place, stage in enumerate(pipeline.stages):
                yield PoolStage(model.name, number, place, stage)


def with_shared_pools(plan: Plan, profiles: Mapping[str, Profile]) -> Plan:
    """``plan`` with its pools shared, otherwise the same; ``profiles`` by model name.

    Raises :class:`InfeasibleError` where the pieces of a pool do not fit the memory of its workers, naming them.
    """
    shared: Plan = plan.model_copy(update={"shared_pools": True})
    try:
        check_plan(shared, profiles)
    except BadInputError as error:
        raise InfeasibleError(
            f"the plan's pools cannot be shared. Plan without --shared-pools, or with more memory: {error}"
        ) from None
    return shared
