"""Scenarios and plans from a PPipe artifact folder, to be simulated, served and compared with ours.

A scenario is the question that the artifact's own planner (``_v4``) answered. The plans of all its schedulers are
kept as they are, except values that follow from the profile: inference, transfer and rates are computed
again. So a published plan and one of ours are measured by the same rule. Rates are what the pools
sustain. The file records what its solver used, which can be less if a pool is not the bottleneck.

Source: Kong, Xu, Hu, "PPipe", USENIX ATC 2025, planning, and its artifact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from penstock.cluster import Cluster
from penstock.errors import BadInputError, InfeasibleError
from penstock.files import validate
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.placement.seats import place
from penstock.plan.planners.device_time_bound import work_bound_rps
from penstock.plan.planning_question import PlanningQuestion
from penstock.ppipe.plan_file import Entry, Partition, PipelineEntry, PlanFile, read_plan_file, split_name
from penstock.profile.table import Profile
from penstock.result import relative_gap
from penstock.units import US_PER_S, transfer_us, whole_us

_WORKER_TOLERANCE = 0.01
# The artifact's solver gives device counts such as 74.99999517980692, which are nearly whole workers.


@dataclass(frozen=True)
class Imported:
    """Scenarios by ``SET-NAME`` and plans by ``SET-NAME-PLANNER``. Profiles are in ``../profiles``."""

    scenarios: Mapping[str, Scenario]
    plans: Mapping[str, Plan]


def read_plans(folder: Path, profiles: Mapping[str, Profile]) -> Imported:
    """Every plan under ``folder/plans``, and the scenarios that they answer.

    Raises :class:`BadInputError` that names the file that is missing or wrong.
    """
    scenarios: dict[str, Scenario] = {}
    plans: dict[str, Plan] = {}
    for name, paths in _by_scenario(folder / "plans").items():
        files = {planner: read_plan_file(path) for planner, path in paths.items()}
        scenario = scenarios[name] = _scenario(files["ppipe"], profiles)
        for planner, file in files.items():
            _check_same_question(file, files["ppipe"])
            plans[f"{name}-{planner}"] = _plan(file, scenario, profiles)
    return Imported(scenarios, plans)


def scenario_yaml(scenario: Scenario) -> str:
    """``scenario`` as the YAML that a user would write: fields without a value are left out."""
    document = scenario.model_dump(mode="json", exclude_none=True, exclude={"planner"})
    document["planner"] = scenario.planner.model_dump(mode="json")
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _by_scenario(folder: Path) -> dict[str, dict[str, Path]]:
    """Plan files by ``SET-NAME`` and planner."""
    if not folder.is_dir():
        raise BadInputError(
            f"{folder}: no such folder. Name the folder of a PPipe artifact, the one that holds it."
        )
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("[!.]*/[!.]*.json")):
        name, planner = split_name(path)
        siblings = found.setdefault(f"{path.parent.name}-{name}", {})
        if any(sibling.parent != path.parent for sibling in siblings.values()):
            raise BadInputError(f"{path}: would be named as {next(iter(siblings.values()))}. Rename one set.")
        siblings[planner] = path
    for paths in found.values():
        if "ppipe" not in paths:
            path = next(iter(paths.values()))
            raise BadInputError(
                f"{path}: has no {split_name(path)[0]}_v4.json beside it, which tells the scenario. "
                f"Add that file."
            )
    return found


def _scenario(file: PlanFile, profiles: Mapping[str, Profile]) -> Scenario:
    config = file.config
    per_class = zip(
        config.gpu_name_arr, file.counts, config.num_gpu_per_server_arr, config.num_mps_levels, strict=True
    )
    document = {
        "version": 1,
        "cluster": {
            "bandwidth_gbps": config.bw_gbps,
            "device_classes": {
                name: {"count": count, "per_host": per_host, "max_share": max_share}
                for name, count, per_host, max_share in per_class
            },
        },
        "models": [
            _served(file, entry, weight, profiles)
            for entry, weight in zip(file.entries, file.weights, strict=True)
        ],
        "planner": {
            "max_stages": config.max_num_parts,
            "batch_build_factor": config.batch_build_factor,
            "share_devices": False,  # the published rule, which the published objectives follow
        },
    }
    return validate(Scenario, document, file.path)


def _served(file: PlanFile, entry: Entry, weight: float, profiles: Mapping[str, Profile]) -> dict[str, Any]:
    name = entry.config.dnn_name
    timed = profiles[name].device_classes if name in profiles else ()
    for device_class, count in zip(file.config.gpu_name_arr, file.counts, strict=True):
        if count and device_class not in timed:
            raise BadInputError(
                f"{file.path}: model {name!r} has no block timings on {device_class!r} in the artifact "
                f"(it has {', '.join(timed) or 'none'}). Add them, or remove the file."
            )
    return {
        "name": name,
        "profile": f"../profiles/{name}",
        "slo_us": math.floor(entry.sla),
        "weight": weight,
        "slo_margin_us": round(entry.config.hist_adjustment),
        "estimated_rps": entry.config.est_xput,
    }


def _check_same_question(file: PlanFile, asked: PlanFile) -> None:
    """Plans of one scenario are compared, so all must answer the same question."""
    fields = ("dnn_name", "gpu_name_arr", "num_gpu_per_server_arr", "bw_gbps", "hist_adjustment")
    ours = [(entry.sla, *(getattr(entry.config, field) for field in fields)) for entry in file.entries]
    theirs = [(entry.sla, *(getattr(entry.config, field) for field in fields)) for entry in asked.entries]
    if ours != theirs:
        raise BadInputError(
            f"{file.path}: its sla, {', '.join(fields)} differ from those of {asked.path.name}, "
            f"but both must answer one scenario. Take both from one version of the artifact."
        )


def _plan(file: PlanFile, scenario: Scenario, profiles: Mapping[str, Profile]) -> Plan:
    models = [
        _model_plan(entry, model, scenario.cluster, profiles[model.name], file.path)
        for entry, model in zip(file.entries, scenario.models, strict=True)
    ]
    objective = min(plan.rate_rps / model.weight for plan, model in zip(models, scenario.models, strict=True))
    bound, stats = _proof(file, objective, work_bound_rps(PlanningQuestion(scenario, profiles)))
    try:
        plan = Plan(
            version=1,
            planner=file.planner,
            objective=objective,
            bound=bound,
            gap=relative_gap(objective, bound),
            status="imported",
            stats=stats,
            scenario=scenario,
            models=models,
            placement=place(models, scenario.cluster),
        )
        check_plan(plan, profiles)
    except (BadInputError, InfeasibleError) as error:
        # If a published plan breaks a rule or does not fit, the file is wrong: it is not a case without a plan.
        raise BadInputError(f"{file.path}: {error}") from None
    return plan


def _proof(file: PlanFile, objective: float, work_rps: float) -> tuple[float, dict[str, float | int | str]]:
    """The tighter of the recorded bound and that of device time, and the file's data about its solver.

    A recorded gap is true among the plans from which its planner may choose. DART-r's gaps are for pairs of devices,
    one model at a time. They prove nothing about the whole plan. They are kept, but not used as a proof.
    """
    recorded = min(entry.xput / weight for entry, weight in zip(file.entries, file.weights, strict=True))
    gaps = [entry.mipgap for entry in file.entries if entry.mipgap is not None]
    seconds = [entry.runtime for entry in file.entries if entry.runtime is not None]
    stats: dict[str, float | int | str] = {"reference_objective": recorded, "work_bound": work_rps}
    stats |= {"mipgap": max(gaps)} if gaps else {}
    stats |= {"runtime": sum(seconds)} if seconds else {}
    proven_rps = recorded * (1 + max(gaps)) if gaps and file.planner != "dart-r" else math.inf
    stats["bound_from"] = "recorded gap" if proven_rps < work_rps else "device time"
    return max(objective, min(proven_rps, work_rps)), stats


def _model_plan(
    entry: Entry, model: ServedModel, cluster: Cluster, profile: Profile, path: Path
) -> ModelPlan:
    pipelines = []
    for index, pipeline in enumerate(entry.pipelines):
        where = f"{path}: model {model.name!r}, pipeline {index}"
        _check_covers(pipeline, len(profile.blocks), where)
        stages = list(_stages(pipeline.partitions, cluster, profile, where))
        pipelines.append(PipelinePlan(rate_rps=min(stage.rate_rps for stage in stages), stages=stages))
    return ModelPlan(
        name=model.name,
        rate_rps=sum(pipeline.rate_rps for pipeline in pipelines),
        slo_us=model.latency_slo_us,
        margin_us=model.margin_us or 0,
        estimated_rps=model.estimated_rps,
        pipelines=pipelines,
    )


def _check_covers(pipeline: PipelineEntry, blocks: int, where: str) -> None:
    ends = [0, *(part.layers[1] for part in pipeline.partitions)]
    starts = [*(part.layers[0] for part in pipeline.partitions), blocks]
    if starts != ends or any(part.layers[0] >= part.layers[1] for part in pipeline.partitions):
        shown = [part.layers for part in pipeline.partitions]
        raise BadInputError(
            f"{where}: layers {shown} do not cover the {blocks} blocks in order. Correct them."
        )


def _stages(
    partitions: Sequence[Partition], cluster: Cluster, profile: Profile, where: str
) -> Iterator[StagePlan]:
    for part in partitions:
        _check_stage(part, cluster, profile, where)
    # The first stage does not receive and the last one does not send: requests and answers are not counted.
    between_us = [_sample_us(sender, receiver, cluster, profile) for sender, receiver in pairwise(partitions)]
    sample_us = [0.0, *between_us, 0.0]
    for index, part in enumerate(partitions):
        share = part.mps + 1
        inference_us = int(profile.table(part.gpu, share).span_us(*part.layers)[part.bs - 1])
        worker_rps = part.bs * US_PER_S / inference_us
        link_us = max(sample_us[index], sample_us[index + 1])
        if link_us > 0:
            workers_on_host = share * cluster.device_classes[part.gpu].interface_devices
            worker_rps = min(worker_rps, US_PER_S / link_us / workers_on_host)
        workers = round(part.num_gpu * share)
        yield StagePlan(
            blocks=part.layers,
            device_class=part.gpu,
            share=share,
            batch=part.bs,
            workers=workers,
            inference_us=inference_us,
            transfer_us=whole_us(part.bs * sample_us[index + 1]),
            rate_rps=workers * worker_rps,
        )


def _check_stage(part: Partition, cluster: Cluster, profile: Profile, where: str) -> None:
    """A stage must name a class of the cluster, a timed share and batch, and whole workers."""
    share = part.mps + 1
    if part.gpu not in cluster.device_classes:
        raise BadInputError(f"{where}: device class {part.gpu!r} is not in gpu_name_arr. Correct it.")
    table = profile.tables.get((part.gpu, share))
    if table is None or part.bs > table.max_batch:
        raise BadInputError(
            f"{where}: no timings of batch {part.bs} on {part.gpu} at share {share} (mps + 1). "
            f"Take plans and timings from one version of the artifact."
        )
    workers = part.num_gpu * share
    if round(workers) < 1 or abs(workers - round(workers)) > _WORKER_TOLERANCE:
        raise BadInputError(
            f"{where}: num_gpu {part.num_gpu} at share {share} makes {workers} workers, but they must be "
            f"whole, at least 1. Correct num_gpu."
        )


def _sample_us(sender: Partition, receiver: Partition, cluster: Cluster, profile: Profile) -> float:
    """One sample's transfer between two stages, at the slower of the two interfaces."""
    return transfer_us(profile.boundary_bytes[sender.layers[1]], cluster.link_gbps(sender.gpu, receiver.gpu))
