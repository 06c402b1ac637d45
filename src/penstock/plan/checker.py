"""The checker: is this plan what it says it is?

It shares no code with any planner: it reads the scenario and the profiles, and recomputes with plain
Python, from the definitions (Kong et al., "PPipe", USENIX ATC 2025, planning), everything that a plan
states. It runs on every plan that is written or loaded, so a plan edited by hand cannot lie.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from penstock.errors import BadInputError
from penstock.plan.plan import ModelPlan, PipelinePlan, Plan, StagePlan, WorkerPlacement
from penstock.plan.scenario import Scenario, ServedModel
from penstock.profile.table import Profile

RELATIVE_TOLERANCE = 1e-6
"""Rates and gaps are floats that may have passed through text."""

DEMAND_TOLERANCE = 2e-6
"""The planner meets a demand to the last worker, which a solver decides to 1e-6."""

LATENCY_TOLERANCE_US = 1.0
"""Times are whole microseconds: an SLO or a margin rounded to one may be short by one."""

MOST_SHOWN = 20


def check_plan(plan: Plan, profiles: Mapping[str, Profile]) -> None:
    """Raise :class:`BadInputError` that lists every violation of ``plan``; ``profiles`` by model name."""
    violations = [
        *_check_models(plan, profiles),
        *_check_proof(plan),
        *_check_verification(plan),
        *_check_placement(plan, profiles),
    ]
    if violations:
        shown = violations[:MOST_SHOWN]
        if len(violations) > MOST_SHOWN:
            shown.append(f"and {len(violations) - MOST_SHOWN} more")
        raise BadInputError(
            f"the plan breaks {len(violations)} rule{'s' if len(violations) > 1 else ''}; plan again, or "
            f"correct it:\n  " + "\n  ".join(shown)
        )


def _differs(stated: float, true: float) -> bool:
    return abs(stated - true) > RELATIVE_TOLERANCE * max(abs(true), 1e-9)


def _check_models(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every model of the scenario is served, once, as its pipelines say."""
    served = {model.name: model for model in plan.scenario.models}
    planned = [model.name for model in plan.models]
    if planned != list(served):
        yield f"models: the plan serves {planned}, its scenario asks for {list(served)}, in that order"
    for model in plan.models:
        if model.name in served and model.name in profiles:
            yield from _check_model(model, served[model.name], plan.scenario, profiles[model.name])


def _check_model(
    model: ModelPlan, served: ServedModel, scenario: Scenario, profile: Profile
) -> Iterator[str]:
    where = f"model {model.name!r}"
    if model.slo_us != served.latency_slo_us:
        yield f"{where}: slo_us {model.slo_us}, the scenario says {served.latency_slo_us}"
    if served.margin_us is not None and model.margin_us != served.margin_us:
        yield f"{where}: margin_us {model.margin_us}, the scenario says {served.margin_us}"
    estimate = model.estimated_rps or served.estimated_rps
    if served.estimated_rps and _differs(estimate or 0.0, served.estimated_rps):
        yield f"{where}: estimated_rps {model.estimated_rps}, the scenario says {served.estimated_rps}"
    for p, pipeline in enumerate(model.pipelines):
        yield from _check_pipeline(
            f"{where}, pipeline {p}", pipeline, scenario, profile, model.slo_us - model.margin_us, estimate
        )
    total = sum(pipeline.rate_rps for pipeline in model.pipelines)
    if _differs(model.rate_rps, total):
        yield f"{where}: rate_rps {model.rate_rps}, its pipelines sum to {total}"


def _check_pipeline(
    where: str,
    pipeline: PipelinePlan,
    scenario: Scenario,
    profile: Profile,
    limit_us: int,
    estimate: float | None,
) -> Iterator[str]:
    faults = list(_check_shape(where, pipeline, scenario, profile))
    yield from faults
    if faults:  # nothing below can be recomputed of a pipeline that does not exist
        return
    batch = pipeline.stages[0].batch
    samples = [_sample_us(pipeline.stages, s, scenario, profile) for s in range(len(pipeline.stages))]
    gather_us = 0.0
    if batch > 1 and estimate is None:
        yield f"{where}: batch {batch} without an estimated_rps, so its gathering time is unknown"
    elif batch > 1 and estimate is not None:
        gather_us = scenario.planner.batch_build_factor * 1e6 * (batch - 1) / estimate
    latency_us = gather_us
    for s, stage in enumerate(pipeline.stages):
        inference_us = _inference_us(stage, profile)
        latency_us += inference_us + batch * samples[s]
        yield from _check_stage(f"{where}, stage {s}", stage, inference_us, samples, s, scenario)
    if latency_us > limit_us + LATENCY_TOLERANCE_US:
        yield (
            f"{where}: takes {latency_us:.1f} us (inference, transfer, gathering), the SLO less its margin "
            f"is {limit_us} us"
        )
    slowest = min(stage.rate_rps for stage in pipeline.stages)
    if _differs(pipeline.rate_rps, slowest):
        yield f"{where}: rate_rps {pipeline.rate_rps}, its slowest stage has {slowest}"


def _check_shape(where: str, pipeline: PipelinePlan, scenario: Scenario, profile: Profile) -> Iterator[str]:
    """The stages exist: they chain over all blocks, on known classes, shares and batches."""
    end = 0
    for s, stage in enumerate(pipeline.stages):
        start, stop = stage.blocks
        if start != end or stop <= start:
            yield (
                f"{where}, stage {s}: blocks [{start}, {stop}), but the stage must start at {end} and "
                f"not be empty"
            )
        end = stop
        spec = scenario.cluster.device_classes.get(stage.device_class)
        table = profile.tables.get((stage.device_class, stage.share))
        if spec is None:
            yield f"{where}, stage {s}: device class {stage.device_class!r} is not in the cluster"
        elif stage.share > spec.max_share:
            yield f"{where}, stage {s}: share {stage.share}, {stage.device_class} allows {spec.max_share}"
        elif table is None:
            yield f"{where}, stage {s}: the profile has no {stage.device_class} at share {stage.share}"
        elif stage.batch > table.max_batch:
            yield f"{where}, stage {s}: batch {stage.batch}, the profile ends at {table.max_batch}"
        if stage.batch != pipeline.stages[0].batch:
            yield f"{where}, stage {s}: batch {stage.batch}, the first stage has {pipeline.stages[0].batch}"
    if end != len(profile.blocks):
        yield f"{where}: ends at block {end}, the model has {len(profile.blocks)} blocks"


def _check_stage(
    where: str,
    stage: StagePlan,
    inference_us: int,
    samples: Sequence[float],
    s: int,
    scenario: Scenario,
) -> Iterator[str]:
    if stage.inference_us != inference_us:
        yield f"{where}: inference_us {stage.inference_us}, the profile says {inference_us}"
    moving_us = math.ceil(stage.batch * samples[s] - 1e-6)
    if stage.transfer_us != moving_us:
        yield f"{where}: transfer_us {stage.transfer_us}, the profile and bandwidth say {moving_us}"
    worker_rps = stage.batch * 1e6 / inference_us
    neighbours = scenario.cluster.device_classes[stage.device_class].per_host * stage.share
    for sample_us in (samples[s], samples[s - 1] if s else 0.0):
        if sample_us > 0:
            worker_rps = min(worker_rps, 1e6 / sample_us / neighbours)
    if _differs(stage.rate_rps, stage.workers * worker_rps):
        true = stage.workers * worker_rps
        yield f"{where}: rate_rps {stage.rate_rps}, {stage.workers} workers sustain {true}"


def _inference_us(stage: StagePlan, profile: Profile) -> int:
    table = profile.tables[stage.device_class, stage.share]
    total = sum(int(table.latency_us[block, stage.batch - 1]) for block in range(*stage.blocks))
    return max(total, 1)


def _sample_us(stages: Sequence[StagePlan], s: int, scenario: Scenario, profile: Profile) -> float:
    """Time to move one sample from stage ``s`` to the next; 0 after the last."""
    if s + 1 == len(stages):
        return 0.0
    ends = [scenario.cluster.device_classes[stages[k].device_class] for k in (s, s + 1)]
    gbps = min(end.bandwidth_gbps or scenario.cluster.bandwidth_gbps for end in ends)
    return profile.boundary_bytes[stages[s].blocks[1]] * 8 / (gbps * 1e9) * 1e6


def _check_proof(plan: Plan) -> Iterator[str]:
    asked = {model.name: model for model in plan.scenario.models}
    ratios = [model.rate_rps / asked[model.name].weight for model in plan.models if model.name in asked]
    if not ratios:
        return
    if plan.scenario.planner.objective == "cost":
        yield from _check_demands(plan, asked)
        objective, meaning, sense = _hourly_cost(plan), "the devices used cost {} an hour", -1
    else:
        objective, meaning, sense = min(ratios), "the least rate / weight is {}", 1
    if _differs(plan.objective, objective):
        yield f"objective {plan.objective}, {meaning.format(objective)}"
    if sense * (plan.bound - plan.objective) < -RELATIVE_TOLERANCE * abs(plan.objective):
        side = "below" if sense > 0 else "above"
        yield f"bound {plan.bound} is {side} the objective {plan.objective}: it cannot be proven"
    gap = abs(plan.bound - plan.objective) / max(abs(plan.objective), 1e-12)
    if abs(plan.gap - gap) > RELATIVE_TOLERANCE:
        yield f"gap {plan.gap}, bound and objective give {gap}"


def _check_verification(plan: Plan) -> Iterator[str]:
    """All models are verified or none, each at the target; the rate itself only a simulation can check."""
    without = [model.name for model in plan.models if model.verified is None]
    if plan.verification is None:
        if len(without) < len(plan.models):
            yield "verification: missing, but models state verified rates"
        return
    if without:
        yield f"verification: models {without} state no verified rate"
    for model in plan.models:
        if model.verified is not None and model.verified.attainment < plan.verification.target:
            yield (
                f"model {model.name!r}: verified at attainment {model.verified.attainment}, the target is "
                f"{plan.verification.target}"
            )


def _check_demands(plan: Plan, asked: Mapping[str, ServedModel]) -> Iterator[str]:
    """Every demand is met, and no batch gathers faster than it arrives."""
    for model in plan.models:
        demand_rps = asked[model.name].rate_rps if model.name in asked else None
        if demand_rps is None:
            continue
        if model.rate_rps < demand_rps * (1 - DEMAND_TOLERANCE):
            yield f"model {model.name!r}: rate_rps {model.rate_rps}, the scenario asks for {demand_rps}"
        own_rps = asked[model.name].estimated_rps
        if own_rps is None and (model.estimated_rps or 0.0) > demand_rps * (1 + RELATIVE_TOLERANCE):
            yield f"model {model.name!r}: estimated_rps {model.estimated_rps}, but only {demand_rps} arrive"


def _hourly_cost(plan: Plan) -> float:
    """What the devices that hold a worker cost an hour."""
    classes = plan.scenario.cluster.device_classes
    used = {(worker.device_class, worker.device) for worker in plan.placement}
    return sum(classes[name].hourly_cost or 0.0 for name, _ in used if name in classes)


def _check_placement(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every worker has one place, and no device is given away twice."""
    wanted = [
        (model.name, p, s, slot, stage.device_class, stage.share)
        for model in plan.models
        for p, pipeline in enumerate(model.pipelines)
        for s, stage in enumerate(pipeline.stages)
        for slot in range(stage.workers)
    ]
    given = [(w.model, w.pipeline, w.stage, w.slot, w.device_class, w.share) for w in plan.placement]
    if given != wanted:
        k = next((k for k, pair in enumerate(zip(given, wanted, strict=False)) if pair[0] != pair[1]), None)
        if k is None:
            yield f"placement: {len(given)} workers are placed, the plan has {len(wanted)}"
        else:
            yield f"placement, entry {k}: holds {given[k]}, the plan's worker {k} is {wanted[k]}"
    for k, worker in enumerate(plan.placement):
        if worker.worker != k:
            yield f"placement, entry {k}: worker {worker.worker}, workers count up from 0 in order"
    yield from _check_devices(plan, profiles)


def _check_devices(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    devices: dict[tuple[str, int], list[WorkerPlacement]] = defaultdict(list)
    for worker in plan.placement:
        spec = plan.scenario.cluster.device_classes.get(worker.device_class)
        if spec is None:
            continue  # reported with its stage
        devices[worker.device_class, worker.device].append(worker)
        if worker.device >= spec.count:
            yield (
                f"worker {worker.worker}: device {worker.device} of {worker.device_class}, the cluster has "
                f"{spec.count} (0 to {spec.count - 1})"
            )
        if worker.device in spec.lost:
            yield f"worker {worker.worker}: device {worker.device} of {worker.device_class} is lost"
        if worker.host != worker.device // spec.per_host:
            yield (
                f"worker {worker.worker}: host {worker.host} of {worker.device_class}, but device "
                f"{worker.device} is in host {worker.device // spec.per_host}"
            )
    for (device_class, device), workers in sorted(devices.items()):
        where = f"device {device} of {device_class}"
        names = ", ".join(f"{w.worker} ({w.model}, 1/{w.share})" for w in workers)
        if sum(Fraction(1, w.share) for w in workers) > 1:
            yield f"{where} is double booked: workers {names} take more than the whole of it"
        if not plan.scenario.planner.share_devices and len({(w.model, w.stage) for w in workers}) > 1:
            yield f"{where} is shared by different models or stage positions: workers {names}"
        if not plan.shared_pools:
            yield from _check_memory(where, workers, plan, profiles)
    if plan.shared_pools:
        yield from _check_pools(plan, profiles)


def _check_pools(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """In the share of every worker fit all pieces of its pool, each once, and the largest activation of any."""
    pools: dict[tuple[str, int, int], list[tuple[str, StagePlan]]] = defaultdict(list)
    for model in plan.models:
        for pipeline in model.pipelines:
            for place, stage in enumerate(pipeline.stages):
                pools[stage.device_class, stage.share, place].append((model.name, stage))
    for (device_class, share, place), held in pools.items():
        spec = plan.scenario.cluster.device_classes.get(device_class)
        if spec is None or spec.memory_gb is None or any(name not in profiles for name, _ in held):
            continue  # unlimited, or reported with the models
        pieces = {(name, *stage.blocks) for name, stage in held}
        total = sum(b.parameter_bytes for name, i, j in pieces for b in profiles[name].blocks[i:j])
        total += max(
            (
                stage.batch * block.peak_activation_bytes
                for name, stage in held
                for block in profiles[name].blocks[slice(*stage.blocks)]
            ),
            default=0,
        )
        if total * share > spec.memory_gb * 1e9:
            names = ", ".join(f"{name} [{i}, {j})" for name, i, j in sorted(pieces))
            yield (
                f"the shared pool on 1/{share} of {device_class}, stage {place}, is out of memory: each worker holds "
                f"{names}, {total / 1e9:.3f} GB, it has {spec.memory_gb / share:.3f} GB"
            )


def _check_memory(
    where: str, workers: Sequence[WorkerPlacement], plan: Plan, profiles: Mapping[str, Profile]
) -> Iterator[str]:
    """Parameters and the largest activation of every worker fit; where sizes are unknown they count 0."""
    memory_gb = plan.scenario.cluster.device_classes[workers[0].device_class].memory_gb
    if memory_gb is None:
        return
    models = {model.name: model for model in plan.models}
    total = 0
    for w in workers:
        if w.model not in models or w.model not in profiles:
            return  # reported with the models
        pipelines = models[w.model].pipelines
        if w.pipeline >= len(pipelines) or w.stage >= len(pipelines[w.pipeline].stages):
            return  # reported with the placement
        stage = pipelines[w.pipeline].stages[w.stage]
        blocks = profiles[w.model].blocks[stage.blocks[0] : stage.blocks[1]]
        total += sum(block.parameter_bytes for block in blocks)
        total += stage.batch * max((block.peak_activation_bytes for block in blocks), default=0)
    if total > memory_gb * 1e9:
        names = ", ".join(str(w.worker) for w in workers)
        yield f"{where} is out of memory: workers {names} need {total / 1e9:.3f} GB, it has {memory_gb} GB"
