"""The plan in which every model runs on every device. A dispatcher on each device decides whose turn it is.

A *scheduled* share is a share of a device's time. Spatial shares split a device into parts, and each part runs
slower. Whole batches keep a device until they end. Under a dispatcher a job has the whole device, and other jobs wait
at most until the end of a segment (:mod:`penstock.schedule.device`). Each device of a class serves the same mix, in
proportion to the weights: rates are ``weight * t``, and ``t`` is chosen so that the device time is used up. With
several classes a linear program could give different mixes to different classes. That is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import (
    ModelPlan,
    PipelinePlan,
    Plan,
    ScheduledShare,
    StagePlan,
    WorkerPlacement,
)
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.placement.assemble import plan_with_proof
from penstock.profile.cutting import balanced, wanted_segments
from penstock.profile.table import Profile
from penstock.units import US_PER_S

PLANNER_NAME = "penstock-held"
ORDER, LATE = "moore-hodgson", "demote"
"""This order holds 99% of every model up to the highest load of all orders measured: ``docs/device.md``."""


def scheduled_plan(
    scenario: Scenario, profiles: Mapping[str, Profile], *, bound: float, miss_budget: float
) -> Plan:
    """The scheduled plan of ``scenario``. ``bound``: no plan of the cluster exceeds it, in units of the objective.

    ``miss_budget``: the share of each model's requests that may miss, 1 less the target.

    Classes on which some model misses its SLO even when it runs alone are left out. Raises :class:`InfeasibleError`
    if none remains.
    """
    free = [model.with_estimate(0, None) for model in scenario.models]
    bare = scenario.edited(models=free)
    classes = [
        name
        for name, spec in scenario.cluster.device_classes.items()
        if spec.available and all(_alone_us(profiles[m.name], name) <= m.latency_slo_us for m in free)
    ]
    if not classes:
        raise InfeasibleError(
            "no device class runs every model alone within its SLO, so models cannot take turns on any device. Raise "
            "the SLOs, or leave planner.scheduled out."
        )
    pace = {name: _mixes_per_second(bare, profiles, name) for name in classes}
    plan = plan_with_proof(
        [_model(bare, profiles[model.name], model, pace) for model in free],
        bare,
        planner=PLANNER_NAME,
        bound=bound,
        gap=0.0,
        stats={},
        placement=_placement(bare, classes),
    ).solution
    share = ScheduledShare(
        order=ORDER,
        late=LATE,
        miss_budget=miss_budget,
        segments={name: _segments(bare, profiles, name) for name in classes},
    )
    scheduled: Plan = plan.edited(scheduled=share)
    return scheduled


def _alone_us(profile: Profile, device_class: str) -> int:
    return int(profile.table(device_class, 1).span_us(0, len(profile.blocks))[0])


def _mixes_per_second(scenario: Scenario, profiles: Mapping[str, Profile], device_class: str) -> float:
    """How often per second the devices of a class can run ``weight`` jobs of every model."""
    work_us = sum(model.weight * _alone_us(profiles[model.name], device_class) for model in scenario.models)
    return scenario.cluster.device_classes[device_class].available * US_PER_S / work_us


def _model(scenario: Scenario, profile: Profile, model: ServedModel, pace: Mapping[str, float]) -> ModelPlan:
    stages = [
        StagePlan(
            blocks=(0, len(profile.blocks)),
            device_class=name,
            share=len(scenario.models),
            batch=1,
            workers=scenario.cluster.device_classes[name].available,
            inference_us=_alone_us(profile, name),
            transfer_us=0,
            rate_rps=model.weight * mixes,
        )
        for name, mixes in pace.items()
    ]
    return ModelPlan(
        name=model.name,
        rate_rps=sum(stage.rate_rps for stage in stages),
        slo_us=model.latency_slo_us,
        margin_us=0,
        pipelines=[PipelinePlan(rate_rps=stage.rate_rps, stages=[stage]) for stage in stages],
    )


def _placement(scenario: Scenario, classes: list[str]) -> list[WorkerPlacement]:
    """A worker of every model on every device in service."""
    places: list[WorkerPlacement] = []
    for model in scenario.models:
        for pipeline, name in enumerate(classes):
            spec = scenario.cluster.device_classes[name]
            devices = [device for device in range(spec.count) if device not in spec.lost]
            places += [
                WorkerPlacement(
                    worker=len(places) + slot,
                    model=model.name,
                    pipeline=pipeline,
                    stage=0,
                    slot=slot,
                    device_class=name,
                    host=device // spec.per_host,
                    device=device,
                    share=len(scenario.models),
                )
                for slot, device in enumerate(devices)
            ]
    return places


def _segments(scenario: Scenario, profiles: Mapping[str, Profile], device_class: str) -> dict[str, list[int]]:
    """The points at which each model may stop: the measured cut, or the rule over blocks.

    The blocks of a profile were measured one by one, so the table already contains the cost of a cut between two.
    """
    alone_us = {name: _alone_us(profiles[name], device_class) for name in (m.name for m in scenario.models)}
    shortest_us = min(alone_us.values())
    segments = {}
    for name, model_us in alone_us.items():
        profile = profiles[name]
        if device_class in profile.cuts:
            segments[name] = list(profile.segments_on(device_class))
            continue
        block_us = profile.table(device_class, 1).latency_us[:, 0].tolist()
        count = min(wanted_segments(model_us, shortest_us), len(block_us))
        segments[name] = list(balanced(block_us, count))
    return segments
