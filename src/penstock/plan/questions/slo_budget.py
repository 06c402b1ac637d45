"""Slack: how much of its SLO each pipeline of a plan leaves unused, and what limits the rate of each pool.

What limits a pipeline below its slowest pool is in :mod:`penstock.plan.questions.full_interfaces`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan
from penstock.plan.documents.shared_pools import pools_of
from penstock.units import US_PER_S


@dataclass(frozen=True)
class Slack:
    """How one pipeline uses the SLO of its requests, in microseconds. ``slack_share`` is a part of the SLO."""

    model: str
    pipeline: int
    slo_us: int
    margin_us: int
    gather_us: float
    inference_us: int
    transfer_us: int
    slack_us: float
    slack_share: float


@dataclass(frozen=True)
class PoolLimit:
    """What limits the workers of one stage. Their pool may be shared or not.

    ``rate_rps`` is the rate that they sustain. ``used`` is the part of it that the pipeline uses.
    ``limited_by``: its workers' inference, or their equal parts of the interface of their hosts. ``inference_rps`` is
    the rate that the pool would sustain on a network without limits.
    """

    model: str
    pipeline: int
    stage: int
    device_class: str
    share: int
    workers: int
    rate_rps: float
    used: float
    limited_by: Literal["inference", "interface"]
    inference_rps: float


@dataclass(frozen=True)
class SharedPool:
    """A pool of several stages. ``used`` is the part of its workers' time that the plan's rates need."""

    device_class: str
    share: int
    place: int
    workers: int
    stages: tuple[str, ...]
    used: float


def shared_pools(plan: Plan) -> Iterator[SharedPool]:
    """The pools of ``plan`` that serve several stages, in the order of their first stages."""
    rates = {model.name: [pipeline.rate_rps for pipeline in model.pipelines] for model in plan.models}
    for pool in pools_of(plan):
        if len(pool.stages) < 2:
            continue
        first = pool.stages[0]
        busy = sum(
            rates[stage.model][stage.pipeline] / stage.plan.rate_rps * stage.plan.workers
            for stage in pool.stages
        )
        yield SharedPool(
            device_class=first.plan.device_class,
            share=first.plan.share,
            place=first.place,
            workers=pool.workers,
            stages=tuple(
                f"{stage.model} p{stage.pipeline} [{stage.plan.blocks[0]}, {stage.plan.blocks[1]})"
                for stage in pool.stages
            ),
            used=busy / pool.workers,
        )


def slack(plan: Plan) -> Iterator[Slack]:
    """The slack of every pipeline, in the plan's order."""
    for model in plan.models:
        for number, pipeline in enumerate(model.pipelines):
            yield _slack(model, number, pipeline, plan.scenario.planner.batch_build_factor)


def _slack(model: ModelPlan, number: int, pipeline: PipelinePlan, build_factor: float) -> Slack:
    further = pipeline.stages[0].batch - 1
    # A plan without an estimate has batches of 1. They need no time to gather.
    gather_us = build_factor * US_PER_S * further / (model.estimated_rps or 1.0) if further else 0.0
    inference_us = sum(stage.inference_us for stage in pipeline.stages)
    transfer_us = sum(stage.transfer_us for stage in pipeline.stages)
    slack_us = model.slo_us - model.margin_us - gather_us - inference_us - transfer_us
    return Slack(
        model=model.name,
        pipeline=number,
        slo_us=model.slo_us,
        margin_us=model.margin_us,
        gather_us=gather_us,
        inference_us=inference_us,
        transfer_us=transfer_us,
        slack_us=slack_us,
        slack_share=slack_us / model.slo_us,
    )


def pool_limits(plan: Plan) -> Iterator[PoolLimit]:
    """What limits every pool, in the plan's order."""
    for model in plan.models:
        for number, pipeline in enumerate(model.pipelines):
            for s, stage in enumerate(pipeline.stages):
                # As if each piece of a split stage were the largest, so it is no more than the true rate.
                inference_rps = stage.workers * stage.batch * US_PER_S / (stage.inference_us * stage.pieces)
                # Rates may have been rounded in text. So a difference of a millionth is ignored.
                is_inference = stage.rate_rps >= inference_rps * (1 - 1e-6)
                yield PoolLimit(
                    model=model.name,
                    pipeline=number,
                    stage=s,
                    device_class=stage.device_class,
                    share=stage.share,
                    workers=stage.workers,
                    rate_rps=stage.rate_rps,
                    used=pipeline.rate_rps / stage.rate_rps,
                    limited_by="inference" if is_inference else "interface",
                    inference_rps=inference_rps,
                )
