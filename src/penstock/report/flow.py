"""A plan as a flow of pools, for the page: what enters, which pools it passes, how wide each pipeline is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan, WorkerPlacement

MOST_WIDTH_PX = 22
"""The width of the arrow of the widest pipeline."""


@dataclass(frozen=True)
class FlowStage:
    """A pool of a pipeline. ``where``: its devices and hosts, in words."""

    plan: StagePlan
    number: int
    where: str

    @property
    def unit(self) -> str:
        """The device class and, if it is not a whole device, the share."""
        return (
            self.plan.device_class
            if self.plan.share == 1
            else f"{self.plan.device_class} 1/{self.plan.share}"
        )


@dataclass(frozen=True)
class FlowPipeline:
    """A pipeline of a model. ``width_px`` is proportional to its rate over all pipelines of the plan."""

    number: int
    rate_rps: float
    width_px: float
    stages: tuple[FlowStage, ...]


@dataclass(frozen=True)
class FlowModel:
    """A model and its pipelines."""

    plan: ModelPlan
    pipelines: tuple[FlowPipeline, ...]


def flow_of(plan: Plan) -> list[FlowModel]:
    """The flow of every model of ``plan``."""
    places: dict[tuple[str, int, int], list[WorkerPlacement]] = {}
    for worker in plan.placement:
        places.setdefault((worker.model, worker.pipeline, worker.stage), []).append(worker)
    most_rps = max(pipeline.rate_rps for model in plan.models for pipeline in model.pipelines)
    return [
        FlowModel(
            model,
            tuple(
                FlowPipeline(
                    number,
                    pipeline.rate_rps,
                    max(1.0, MOST_WIDTH_PX * pipeline.rate_rps / most_rps),
                    tuple(_stages(places, model.name, number, pipeline)),
                )
                for number, pipeline in enumerate(model.pipelines)
            ),
        )
        for model in plan.models
    ]


def _stages(
    places: Mapping[tuple[str, int, int], list[WorkerPlacement]],
    model: str,
    number: int,
    pipeline: PipelinePlan,
) -> Iterator[FlowStage]:
    for place, stage in enumerate(pipeline.stages):
        mine = places.get((model, number, place), [])
        devices = len({worker.device for worker in mine})
        hosts = len({worker.host for worker in mine})
        where = f"{devices} device{'s' * (devices != 1)} on {hosts} host{'s' * (hosts != 1)}" if mine else ""
        yield FlowStage(stage, place, where)
