"""From the program's answer to a plan: pipelines with their figures, the placement and the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.documents.plan import (
    ModelPlan,
    PipelinePlan,
    Plan,
    StagePlan,
    WorkerPlacement,
    devices_in_use,
)
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.latency_budget import ModelBudget
from penstock.plan.exact.objective import rates_of
from penstock.plan.placement.seats import place
from penstock.plan.templates.table import Templates
from penstock.profile.table import Profile
from penstock.result import Result, Status, relative_gap
from penstock.solver import NO_GAP
from penstock.units import transfer_us, whole_us


def model_plans(
    templates: Templates,
    workers: I64,
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    budgets: Sequence[ModelBudget],
    *,
    rates: F64 | None = None,
) -> list[ModelPlan]:
    """The pipelines of every model, largest first.

    ``rates`` (templates,): what each serves, if that is less than its slowest stage.
    """
    if rates is None:
        rates = rates_of(templates, workers)
    plans = []
    for m, (model, budget) in enumerate(zip(scenario.models, budgets, strict=True)):
        rows = [
            t for t in np.argsort(-rates, kind="stable").tolist() if templates.model[t] == m and rates[t] > 0
        ]
        pipelines = [
            _pipeline(templates, t, workers[t], float(rates[t]), scenario, profiles[model.name]) for t in rows
        ]
        plans.append(
            ModelPlan(
                name=model.name,
                rate_rps=sum(pipeline.rate_rps for pipeline in pipelines),
                slo_us=model.latency_slo_us,
                margin_us=budget.margin_us,
                estimated_rps=budget.estimated_rps,
                pipelines=pipelines,
            )
        )
    return plans


def plan_with_proof(
    models: list[ModelPlan],
    scenario: Scenario,
    *,
    planner: str,
    bound: float,
    gap: float,
    stats: dict[str, float | int | str],
    placement: list[WorkerPlacement] | None = None,
) -> Result[Plan]:
    """The plan with its placement and proof. It is optimal if it is within ``gap`` of ``bound``, plus solver's slack.

    ``bound`` limits the scenario's objective: from above for throughput, from below for cost. If there is no
    ``placement``, the workers are placed here.
    """
    if placement is None:
        placement = place(models, scenario.cluster, share_devices=scenario.planner.share_devices)
    # The rates are separate sums, so rounding may lift them above the bound.
    if scenario.planner.pays_for_devices:
        objective = price_of_devices(placement, scenario)
        bound = min(bound, objective)
    else:
        objective = min(
            rate.rate_rps / asked.weight for rate, asked in zip(models, scenario.models, strict=True)
        )
        bound = max(bound, objective)
    distance = relative_gap(objective, bound)
    status = Status.OPTIMAL if distance <= max(gap, NO_GAP) else Status.FEASIBLE
    plan = Plan(
        version=1,
        planner=planner,
        objective=objective,
        bound=bound,
        gap=distance,
        status=status.name.lower(),
        stats=stats,
        scenario=scenario,
        models=models,
        placement=placement,
    )
    return Result(plan, status, objective, bound, distance, stats)


def price_of_devices(placement: Sequence[WorkerPlacement], scenario: Scenario) -> float:
    """The hourly cost, or the watts, of the devices that hold a worker: what the objective counts."""
    return sum(scenario.device_price(name) or 0.0 for name, _ in sorted(devices_in_use(placement)))


def _pipeline(
    templates: Templates, t: int, workers: I64, rate_rps: float, scenario: Scenario, profile: Profile
) -> PipelinePlan:
    names = list(scenario.cluster.device_classes)
    batch, depth = int(templates.batch[t]), int(templates.stages[t])
    classes = [names[index] for index in templates.device_class[t, :depth]]
    stages = []
    for s, device_class in enumerate(classes):
        start, stop = (int(cut) for cut in templates.cuts[t, s : s + 2])
        share, pieces = int(templates.share[t, s]), int(templates.pieces[t, s])
        sample_us = 0.0
        if s + 1 < depth:
            link = scenario.cluster.link_gbps(device_class, classes[s + 1])
            sample_us = transfer_us(profile.boundary_bytes[stop], link)
        stages.append(
            StagePlan(
                blocks=(start, stop),
                device_class=device_class,
                share=share,
                batch=batch,
                pieces=pieces,
                workers=int(workers[s]),
                inference_us=int(
                    profile.table(device_class, share).span_us(start, stop)[-(-batch // pieces) - 1]
                ),
                transfer_us=whole_us(batch * sample_us),
                rate_rps=float(workers[s] * templates.worker_rps[t, s]),
            )
        )
    return PipelinePlan(rate_rps=rate_rps, stages=stages)
