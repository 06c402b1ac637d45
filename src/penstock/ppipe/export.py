"""Write a plan as the PPipe artifact writes its own plans: the inverse of :mod:`penstock.ppipe.plans`.

The artifact has device counts and weights only in the file's name. So a file must be named by
:func:`artifact_name`, or it cannot be read again. Memory limits, hourly costs and the placement do not exist in the
format and are left out. Source: the artifact of Kong, Xu, Hu, "PPipe", USENIX ATC 2025.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.errors import BadInputError
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan, has_split_stages
from penstock.plan.documents.rules.interface_rules import beyond_equal_parts
from penstock.ppipe.plan_file import PLANNERS
from penstock.profile.table import Profile
from penstock.units import US_PER_S, transfer_us

_SCHEDULERS = {planner: scheduler for scheduler, planner in PLANNERS.items()}


def artifact_name(plan: Plan) -> str:
    """The file name from which the artifact's reader gets the plan's cluster and weights.

    If the artifact does not have the plan's planner, the name is that of the artifact's own planner.
    """
    scenario = plan.scenario
    classes = scenario.cluster.device_classes
    odd = [name for name in classes if "_" in name or not any(letter.isalpha() for letter in name)]
    if odd:
        raise BadInputError(
            f"device class {odd[0]!r}: the artifact's file names are split at '_' and counts are read as "
            f"digits, so a class needs a letter and no '_'. Rename it in the scenario and plan again."
        )
    weights = [np.format_float_positional(model.weight, trim="0") for model in scenario.models]
    parts = [
        "-".join(model.name for model in scenario.models),
        *(["-".join(weights)] if weights != ["1.0"] else []),
        "-".join(classes),
        "-".join(str(spec.count) for spec in classes.values()),
        f"bw-gbps-{_bandwidth_gbps(plan):g}",
        _SCHEDULERS.get(plan.planner, _SCHEDULERS["ppipe"]),
    ]
    return "_".join(parts) + ".json"


def plan_document(plan: Plan, profiles: Mapping[str, Profile]) -> list[dict[str, Any]]:
    """One entry per model, with the artifact's field names. ``profiles`` by model name.

    Raises :class:`BadInputError` for what the format cannot express: classes of different bandwidths, pools or devices
    shared by different stages or models, and rates that hold only at the plan's placement.
    """
    if plan.shared_pools:
        raise BadInputError(
            "the plan's stages share their pools, but in the artifact's format every stage has workers of its own. "
            "Plan again without --shared-pools."
        )
    if has_split_stages(plan):
        raise BadInputError(
            "the plan has split stages, but in the artifact's format a worker gets whole batches. Set "
            "planner.split_stages to 1 in the scenario and plan again."
        )
    _refuse_shared_devices(plan)
    _refuse_placed_rates(plan, profiles)
    entries = [_entry(plan, model, profiles[model.name]) for model in plan.models]
    # The solver's data is for the whole plan. The artifact's files keep it with the first model.
    return [entries[0] | _solver(plan), *entries[1:]]


def _solver(plan: Plan) -> dict[str, float]:
    if plan.status == "imported":
        return {name: float(plan.stats[name]) for name in ("mipgap", "runtime") if name in plan.stats}
    return {"mipgap": plan.gap, "runtime": float(plan.stats.get("solve_seconds", 0.0))}


def _bandwidth_gbps(plan: Plan) -> float:
    cluster = plan.scenario.cluster
    by_class = {name: cluster.bandwidth_gbps_of(name) for name in cluster.device_classes}
    if len(set(by_class.values())) > 1:
        listed = ", ".join(f"{name} {gbps:g}" for name, gbps in by_class.items())
        raise BadInputError(
            f"the artifact's format has one bandwidth for all classes, the plan has {listed} Gbit/s. "
            f"Give all classes one bandwidth and plan again."
        )
    return next(iter(by_class.values()))


def _refuse_shared_devices(plan: Plan) -> None:
    uses = defaultdict(set)
    for worker in plan.placement:
        uses[worker.device_class, worker.device].add((worker.model, worker.stage))
    for (device_class, device), stages in uses.items():
        if len(stages) > 1:
            raise BadInputError(
                f"device {device} of {device_class} is shared by {sorted(stages)} (model, stage), but in the "
                f"artifact's format every stage has devices of its own. Set planner.share_devices to false "
                f"in the scenario and plan again."
            )


def _refuse_placed_rates(plan: Plan, profiles: Mapping[str, Profile]) -> None:
    if beyond := beyond_equal_parts(plan, profiles):
        raise BadInputError(
            f"{beyond[0]}: its rate is above what equal parts of its hosts' interfaces carry. So it holds only at the "
            f"plan's placement, and the artifact's format has none. Plan again with equal parts."
        )


def _entry(plan: Plan, model: ModelPlan, profile: Profile) -> dict[str, Any]:
    scenario = plan.scenario
    classes = scenario.cluster.device_classes
    bandwidth_gbps = _bandwidth_gbps(plan)
    gathering = {
        # Without an estimate all batches are 1, so there is no gathering.
        "est_xput": model.estimated_rps or model.rate_rps,
        "batch_build_factor": scenario.planner.batch_build_factor,
        "hist_adjustment": model.margin_us,
        "hist_adjustment_w_scheduling": 0,
    }
    config = {
        "dnn_name": model.name,
        "gpu_name_arr": list(classes),
        "sla": model.slo_us,
        "num_mps_levels": [spec.max_share for spec in classes.values()],
        "max_num_parts": scenario.planner.max_stages,
        "bs_same": all(len({s.batch for s in pipeline.stages}) == 1 for pipeline in model.pipelines),
        "transmit_time_us_arr": [transfer_us(n, bandwidth_gbps) for n in profile.boundary_bytes[1:-1]],
        **gathering,
        "num_gpu_per_server_arr": [spec.interface_devices for spec in classes.values()],
        "force_sum_gpu_integer_per_partition": True,
        "bw_gbps": bandwidth_gbps,
        "runtime_fmt": 1,
    }
    pipelines = [_pipeline(plan, model, pipeline, profile) | gathering for pipeline in model.pipelines]
    return {"xput": model.rate_rps, "config": config, "sla": model.slo_us, "pipelines": pipelines}


def _pipeline(plan: Plan, model: ModelPlan, pipeline: PipelinePlan, profile: Profile) -> dict[str, Any]:
    estimate = model.estimated_rps or model.rate_rps
    factor = plan.scenario.planner.batch_build_factor
    return {
        "xput": pipeline.rate_rps,
        "partitions": [_partition(plan, model.name, stage, profile) for stage in pipeline.stages],
        "est_batch_build_lat": factor * US_PER_S * (pipeline.stages[0].batch - 1) / estimate,
    }


def _partition(plan: Plan, model: str, stage: StagePlan, profile: Profile) -> dict[str, Any]:
    start, stop = stage.blocks
    is_last = stop == len(profile.blocks)
    return {
        "dnn": model,
        "layers": [start, stop],
        "gpu": stage.device_class,
        "mps": stage.share - 1,
        "bs": stage.batch,
        "num_gpu_per_server": plan.scenario.cluster.device_classes[stage.device_class].interface_devices,
        "num_gpu": stage.workers / stage.share,
        "lat_infer": float(stage.inference_us),
        # This is the transfer of one sample. Our own plans state that of the batch.
        "lat_trans": 0.0 if is_last else transfer_us(profile.boundary_bytes[stop], _bandwidth_gbps(plan)),
        "xput": stage.rate_rps,
    }
