"""The checker's part for scheduled plans. It uses the scenario and the profiles, and no planner's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from penstock.plan.documents.plan import ModelPlan, Plan, ScheduledShare, StagePlan
from penstock.plan.documents.rules.tolerance import RELATIVE_TOLERANCE, differs
from penstock.plan.documents.scenario import ServedModel
from penstock.profile.table import Profile

MOST_SEGMENTS = 8


def check_scheduled(plan: Plan, share: ScheduledShare, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every violation of a plan whose models take turns on the devices."""
    # Here, because the orders are kernels: plans without turns are checked without loading them.
    from penstock.schedule.device import ORDERS, Late

    served = {model.name: model for model in plan.scenario.models}
    planned = [model.name for model in plan.models]
    if planned != list(served):
        yield f"models: the plan serves {planned}, its scenario asks for {list(served)}, in that order"
        return
    if not plan.scenario.planner.scheduled:
        yield "scheduled: the scenario does not allow it (planner.scheduled)"
    if plan.shared_pools:
        yield "shared_pools: devices of a scheduled plan are shared by turns, so it must be false"
    if share.order not in ORDERS:
        yield f"scheduled.order {share.order!r}: it is one of {', '.join(ORDERS)}"
    if share.late not in [late.value for late in Late]:
        yield f"scheduled.late {share.late!r}: it is one of {', '.join(late.value for late in Late)}"
    for model in plan.models:
        if model.name in profiles:
            yield from _check_model(model, served[model.name], plan, profiles[model.name])
    yield from _check_time(plan)
    yield from _check_segments(plan, share, profiles)
    yield from _check_presence(plan)


def _check_model(model: ModelPlan, served: ServedModel, plan: Plan, profile: Profile) -> Iterator[str]:
    where = f"model {model.name!r}"
    if model.slo_us != served.latency_slo_us:
        yield f"{where}: slo_us {model.slo_us}, the scenario says {served.latency_slo_us}"
    if model.margin_us or served.margin_us:
        yield f"{where}: margin_us {model.margin_us}, a scheduled plan has none (slo_margin_us: 0 in its scenario)"
    total = sum(pipeline.rate_rps for pipeline in model.pipelines)
    if differs(model.rate_rps, total):
        yield f"{where}: rate_rps {model.rate_rps}, its pipelines sum to {total}"
    for p, pipeline in enumerate(model.pipelines):
        stage = pipeline.stages[0]
        spot = f"{where}, pipeline {p}"
        if len(pipeline.stages) != 1 or stage.blocks != (0, len(profile.blocks)):
            yield f"{spot}: a scheduled model runs whole on its device: one stage of all {len(profile.blocks)} blocks"
            continue
        if stage.rate_rps != pipeline.rate_rps:
            yield f"{spot}: rate_rps {pipeline.rate_rps}, its stage has {stage.rate_rps}"
        yield from _check_stage(spot, stage, model.slo_us, plan, profile)


def _check_stage(spot: str, stage: StagePlan, slo_us: int, plan: Plan, profile: Profile) -> Iterator[str]:
    if stage.device_class not in plan.scenario.cluster.device_classes:
        yield f"{spot}: device class {stage.device_class!r} is not in the cluster"
        return
    if stage.batch != 1 or stage.transfer_us != 0:
        yield f"{spot}: batch {stage.batch}, transfer_us {stage.transfer_us}: a scheduled stage has 1 and 0"
    if stage.share != len(plan.models):
        yield f"{spot}: share {stage.share}, but {len(plan.models)} models take turns on each device"
    table = profile.tables.get((stage.device_class, 1))
    if table is None:
        yield f"{spot}: the profile has no {stage.device_class} at share 1, which a job has while it runs"
        return
    alone_us = max(1, sum(int(us) for us in table.latency_us[:, 0]))
    if stage.inference_us != alone_us:
        yield f"{spot}: inference_us {stage.inference_us}, the profile says {alone_us} on the whole device"
    if alone_us > slo_us:
        yield f"{spot}: takes {alone_us} us alone, the SLO is {slo_us} us"


def _check_time(plan: Plan) -> Iterator[str]:
    """The devices of a class have enough time for the rates of all models together."""
    busy_us: dict[str, float] = defaultdict(float)
    devices: dict[str, set[int]] = defaultdict(set)
    for model in plan.models:
        for pipeline in model.pipelines:
            stage = pipeline.stages[0]
            busy_us[stage.device_class] += pipeline.rate_rps * stage.inference_us
            devices[stage.device_class].add(stage.workers)
    for name, busy in busy_us.items():
        if len(devices[name]) > 1:
            yield f"{name}: models have {sorted(devices[name])} workers, but all models are on every device"
        elif busy > max(devices[name]) * 1e6 * (1 + RELATIVE_TOLERANCE):
            yield f"{name}: the rates need {busy / 1e6:.3f} devices, the plan has {max(devices[name])}"


def _check_segments(plan: Plan, share: ScheduledShare, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every model has segments on every class on which it runs, from the first block to the last."""
    for model in plan.models:
        for pipeline in model.pipelines:
            name = pipeline.stages[0].device_class
            where = f"scheduled.segments of {model.name!r} on {name}"
            cut = share.segments.get(name, {}).get(model.name)
            if cut is None:
                yield f"{where}: missing"
            elif model.name in profiles:
                last = len(profiles[model.name].blocks)
                rises = all(before < after for before, after in pairwise(cut))
                if not rises or cut[:1] != [0] or cut[-1] != last or len(cut) > MOST_SEGMENTS + 1:
                    yield f"{where}: {cut} must rise from 0 to {last} in at most {MOST_SEGMENTS} segments"


def _check_presence(plan: Plan) -> Iterator[str]:
    """Every device that is used holds every model once."""
    held: dict[tuple[str, int], list[str]] = defaultdict(list)
    for worker in plan.placement:
        held[worker.device_class, worker.device].append(worker.model)
    names = sorted(model.name for model in plan.models)
    for (device_class, device), here in sorted(held.items()):
        if sorted(here) != names:
            yield f"device {device} of {device_class} holds {sorted(here)}, each device holds every model once"
