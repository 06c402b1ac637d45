"""The checker: are the statements of a plan true?

It shares no code with any planner. It reads the scenario and the profiles, and computes again, in plain
Python and from the definitions (Kong et al., "PPipe", USENIX ATC 2025, planning), everything that a plan
states. It checks every plan that is written or loaded. So it also finds errors in a plan that was edited by hand.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from penstock.errors import BadInputError
from penstock.plan.documents.margin import DEFAULT_MARGIN
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan, WorkerPlacement
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.documents.scheduled_checker import check_scheduled
from penstock.profile.table import Profile
from penstock.result import Status

RELATIVE_TOLERANCE = 1e-6
"""Rates and gaps are floats that may have been rounded in text."""

DEMAND_TOLERANCE = 2e-6
"""The planner meets a demand only as exactly as the solver decides: to 1e-6."""

LATENCY_TOLERANCE_US = 1.0
"""Times are whole microseconds. So an SLO or a margin may be one too small by rounding."""

STATUSES = tuple(status.name.lower() for status in Status)
IMPORTED = "imported"

MOST_SHOWN = 20


def check_plan(plan: Plan, profiles: Mapping[str, Profile]) -> None:
    """Raise :class:`BadInputError` with a list of all violations of ``plan``. ``profiles`` by model name."""
    violations = [
        *_check_lending(plan),
        *(
            _check_models(plan, profiles)
            if plan.scheduled is None
            else check_scheduled(plan, plan.scheduled, profiles)
        ),
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


def _check_lending(plan: Plan) -> Iterator[str]:
    if plan.lent_pools and not plan.shared_pools:
        yield "lent_pools: a worker can be lent only if it holds the pieces of its pool, so shared_pools must be true"


def _differs(stated: float, true: float) -> bool:
    return abs(stated - true) > RELATIVE_TOLERANCE * max(abs(true), 1e-9)


def _check_models(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every model of the scenario is served exactly once, at the sum of its pipelines' rates."""
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
    margin_us, says = served.margin_us, "the scenario says"
    if margin_us is None:
        margin_us, says = (
            round(DEFAULT_MARGIN * served.latency_slo_us),
            "the scenario gives none, which means",
        )
    if model.margin_us != margin_us:
        yield f"{where}: margin_us {model.margin_us}, {says} {margin_us}"
    estimate = model.estimated_rps or served.estimated_rps
    if served.estimated_rps and _differs(estimate or 0.0, served.estimated_rps):
        yield f"{where}: estimated_rps {model.estimated_rps}, the scenario says {served.estimated_rps}"
    if (
        not served.estimated_rps
        and served.rate_rps
        and (estimate or 0.0) > served.rate_rps * (1 + RELATIVE_TOLERANCE)
    ):
        yield f"{where}: estimated_rps {model.estimated_rps}, but only {served.rate_rps} arrive"
    most_rps = _most_rps(scenario, profile)
    if not served.estimated_rps and (estimate or 0.0) > most_rps * (1 + RELATIVE_TOLERANCE):
        yield f"{where}: estimated_rps {model.estimated_rps}, but the whole cluster serves at most {most_rps}"
    for p, pipeline in enumerate(model.pipelines):
        yield from _check_pipeline(
            f"{where}, pipeline {p}", pipeline, scenario, profile, model.slo_us - model.margin_us, estimate
        )
    total = sum(pipeline.rate_rps for pipeline in model.pipelines)
    if _differs(model.rate_rps, total):
        yield f"{where}: rate_rps {model.rate_rps}, its pipelines sum to {total}"


def _most_rps(scenario: Scenario, profile: Profile) -> float:
    """The highest rate of the model that the whole cluster could serve, without any latency limit.

    Block ``k`` takes at least ``work[c][k]`` device seconds of class ``c``, and a whole model takes ``whole[c]``. Let
    a second cost ``1 / whole[c]``. Then a request costs at least the sum over blocks of the cheapest class, and all
    devices together can spend ``sum of count[c] / whole[c]`` each second.
    """
    shares, spend = [], 0.0
    for name, spec in scenario.cluster.device_classes.items():
        tables = [
            (share, table.latency_us.tolist())
            for (device_class, share), table in profile.tables.items()
            if device_class == name and share <= spec.max_share
        ]
        if not spec.available or not tables:
            continue
        work_us = [
            min(time / (b * share) for share, rows in tables for b, time in enumerate(rows[k], start=1))
            for k in range(len(profile.blocks))
        ]
        if sum(work_us) <= 0:
            return math.inf
        shares.append([time / sum(work_us) for time in work_us])
        spend += spec.available * 1e6 / sum(work_us)
    cost = sum(min(block) for block in zip(*shares, strict=True))
    return spend / cost if cost > 0 else math.inf


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
    if faults:  # nothing below can be computed for a pipeline that does not exist
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
    """The stages exist: they cover all blocks in order, on known classes, shares and batches."""
    end = 0
    if len(pipeline.stages) > scenario.planner.max_stages:
        yield (
            f"{where}: {len(pipeline.stages)} stages, the scenario allows {scenario.planner.max_stages} "
            f"(planner.max_stages)"
        )
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
    spec = scenario.cluster.device_classes[stage.device_class]
    neighbours = max(min(spec.per_host, spec.count), 1) * stage.share
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
    """Time to move one sample from stage ``s`` to the next stage. 0 after the last."""
    if s + 1 == len(stages):
        return 0.0
    ends = [scenario.cluster.device_classes[stages[k].device_class] for k in (s, s + 1)]
    gbps = min(end.bandwidth_gbps or scenario.cluster.bandwidth_gbps for end in ends)
    return profile.boundary_bytes[stages[s].blocks[1]] * 8 / (gbps * 1e9) * 1e6


def _check_proof(plan: Plan) -> Iterator[str]:
    if plan.status not in STATUSES and not plan.status.startswith(IMPORTED):
        yield f"status {plan.status!r}: it is {' or '.join(STATUSES)}, or says {IMPORTED!r} and from where"
    asked = {model.name: model for model in plan.scenario.models}
    ratios = [model.rate_rps / asked[model.name].weight for model in plan.models if model.name in asked]
    if not ratios:
        return
    if plan.scenario.planner.objective == "cost":
        yield from _check_demands(plan, asked)
        objective, meaning, sense = _hourly_cost(plan), "the devices used cost {} an hour", -1
    elif plan.scenario.planner.objective == "energy":
        yield from _check_demands(plan, asked)
        objective, meaning, sense = _busy_watts(plan), "the devices used draw {} W when busy", -1
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
    """All models are verified, or none is, each at the target. Only a simulation can check the rate itself."""
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
    """Every demand is met."""
    for model in plan.models:
        demand_rps = asked[model.name].rate_rps if model.name in asked else None
        if demand_rps is None:
            continue
        if model.rate_rps < demand_rps * (1 - DEMAND_TOLERANCE):
            yield f"model {model.name!r}: rate_rps {model.rate_rps}, the scenario asks for {demand_rps}"


def _hourly_cost(plan: Plan) -> float:
    """The hourly cost of the devices that hold a worker."""
    classes = plan.scenario.cluster.device_classes
    used = {(worker.device_class, worker.device) for worker in plan.placement}
    return sum(classes[name].hourly_cost or 0.0 for name, _ in used if name in classes)


def _busy_watts(plan: Plan) -> float:
    """The power of the devices that hold a worker, at full load."""
    classes = plan.scenario.cluster.device_classes
    used = {(worker.device_class, worker.device) for worker in plan.placement}
    powers = [classes[name].power_w for name, _ in used if name in classes]
    return sum(power.busy for power in powers if power is not None)


def _check_placement(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every worker has one place, and no device is used twice."""
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
    """The share of every worker has memory for all pieces of its pool, each once, and the largest activation."""
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
        total = sum(_weight_bytes(profiles[name], i, j) for name, i, j in pieces)
        total += max(
            (
                stage.batch * block.peak_activation_bytes
                for name, stage in held
                for block in profiles[name].blocks[slice(*stage.blocks)]
            ),
            default=0,
        )
        # One process: its context counts once, and so does the largest workspace of any piece.
        total += max(_workspace_bytes(profiles[name], stage) for name, stage in held)
        if total * share > spec.memory_gb * 1e9:
            names = ", ".join(f"{name} [{i}, {j})" for name, i, j in sorted(pieces))
            yield (
                f"the shared pool on 1/{share} of {device_class}, stage {place}, is out of memory: each worker holds "
                f"{names}, {total / 1e9:.3f} GB, it has {spec.memory_gb / share:.3f} GB"
            )


def _weight_bytes(profile: Profile, start: int, stop: int) -> int:
    """Weights of a worker of these blocks. A weight that k of them count is loaded once: k - 1 counts too many."""
    counted = sum(block.parameter_bytes for block in profile.blocks[start:stop])
    held = range(start, stop)
    repeated = (
        shared.size_bytes * (len(set(shared.blocks) & set(held)) - 1)
        for shared in profile.shared_weights
        if not set(shared.blocks).isdisjoint(held)
    )
    return counted - sum(repeated)


def _workspace_bytes(profile: Profile, stage: StagePlan) -> int:
    """What a worker needs besides weights and activations: its context, and the largest workspace of its blocks."""
    context = profile.worker_costs_of(stage.device_class).workspace_bytes
    measured = profile.block_memory.get(stage.device_class, ())[slice(*stage.blocks)]
    return context + max((block.workspace_bytes for block in measured), default=0)


def _check_memory(
    where: str, workers: Sequence[WorkerPlacement], plan: Plan, profiles: Mapping[str, Profile]
) -> Iterator[str]:
    """Parameters and the largest activation of every worker fit. Unknown sizes count 0."""
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
        total += _weight_bytes(profiles[w.model], *stage.blocks)
        total += stage.batch * max((block.peak_activation_bytes for block in blocks), default=0)
        total += _workspace_bytes(profiles[w.model], stage)
    if total > memory_gb * 1e9:
        names = ", ".join(str(w.worker) for w in workers)
        yield f"{where} is out of memory: workers {names} need {total / 1e9:.3f} GB, it has {memory_gb} GB"
