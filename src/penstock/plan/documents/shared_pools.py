"""Shared pools: one pool of workers serves stages of one kind, even of different models.

Stages are of one kind if device class, share and place in the pipeline are equal. Sharing between different places
was measured too, and was not better. A worker of a shared pool holds every piece that the pool serves, and runs the
piece that is due. So pools become larger. If slacks are alike, that is a gain; if not, a loss:
docs/decisions/0009-policy.md.

Pools may also be *lent*: every worker holds the pieces of a shared pool, but serves its own stage, and the policy lends
it to another stage of the pool only while it is idle (:mod:`penstock.schedule.rules.borrowing_kernels`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan, StagePlan
from penstock.profile.table import Profile


@dataclass(frozen=True)
class PoolStage:
    """A stage of a plan. ``pipeline`` counts within the model, ``place`` within the pipeline."""

    model: str
    pipeline: int
    place: int
    plan: StagePlan


@dataclass(frozen=True)
class Pool:
    """Stages that the same workers serve. There are as many workers as the stages have together."""

    stages: tuple[PoolStage, ...]

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return sum(stage.plan.workers for stage in self.stages)


def pools_of(plan: Plan) -> list[Pool]:
    """The pools of ``plan``, in the order of their first stages. Each has one stage unless the plan shares pools."""
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


def with_shared_pools(plan: Plan, profiles: Mapping[str, Profile], *, lent: bool = False) -> Plan:
    """``plan`` with its pools shared, or only ``lent``, otherwise unchanged. ``profiles`` by model name.

    Raises :class:`InfeasibleError` if the pieces of a pool do not fit the memory of its workers. It names the pieces.
    """
    shared: Plan = plan.edited(shared_pools=True, lent_pools=lent)
    try:
        check_plan(shared, profiles)
    except BadInputError as error:
        raise InfeasibleError(
            f"the plan's pools cannot be shared. Plan without --shared-pools and --lent-pools, or with more memory: "
            f"{error}"
        ) from None
    return shared
