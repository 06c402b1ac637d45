"""The tables of a plan: its pools, its devices, what was verified, and the proof."""

from __future__ import annotations

import math
from collections.abc import Iterator

from penstock.api.showing.objective import objective_text, unit_of
from penstock.api.showing.tables import Part, table
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan, Verified
from penstock.plan.energy import plan_power
from penstock.plan.questions.cost import cost_per_million, hourly_cost


def plan_parts(plan: Plan) -> list[Part]:
    """Pools of every model, devices of every class, and the proof."""
    found: list[Part] = [_pool_table(plan, model) for model in plan.models]
    found.append(table("Devices", ["class", "used", "in service"], _devices(plan)))
    return [*found, *verified_parts(plan), *_proof(plan)]


def verified_parts(plan: Plan) -> Iterator[Part]:
    """The rates that were verified and the limits of what can be held; nothing for a plan that was not verified."""
    how = plan.verification
    if how is None:
        return
    yield table(
        f"Verified: {how.arrivals} arrivals, policy {how.policy}, {len(how.seeds)} runs of {how.seconds:g} s",
        ["model", "rate/s", "95% interval", "attainment"],
        [
            [m.name, rate_text(m.offered_rps), _interval(m.verified), f"{m.verified.attainment:.2%}"]
            for m in plan.models
            if m.verified
        ],
    )
    if shares := held_shares(plan):
        unit = "parts of every demand" if plan.scenario.has_demands else "rate / weight in requests/s"
        title = f"Limits of what can be held (docs/goodput-bound.md), {unit}"
        yield table(title, ["with", "at most", "held"], shares)


def held_shares(plan: Plan) -> list[list[str]]:
    """Rows of (limit, its rate / weight, the share that the verified rates hold), for those that the plan states.

    Each row allows what the row before it allows, and more. So a limit holds for the rows before it too, and none of
    them is shown above it.
    """
    if any(model.verified is None for model in plan.models):
        return []
    weights = [own.weight for own in plan.scenario.models]
    held = min(model.offered_rps / weight for model, weight in zip(plan.models, weights, strict=True))
    limits = (
        ("pools_bound_rps", "these pools, any policy"),
        ("static_bound_rps", "any fixed division of the fleet"),
        ("any_policy_bound_rps", "any policy, even one that moves devices"),
    )
    rows: list[list[str]] = []
    least = math.inf
    for key, text in reversed(limits):
        if isinstance(bound := plan.stats.get(key), float):
            least = min(least, bound)
            rows.insert(0, [text, rate_text(least), f"{held / least:.1%}"])
    return rows


def rate_text(rate_rps: float) -> str:
    """A rate with one decimal, or with three digits if it is so low that one decimal would say little."""
    return f"{rate_rps:.1f}" if rate_rps >= 1 or rate_rps <= 0 else f"{rate_rps:.3g}"


def _interval(verified: Verified) -> str:
    if verified.low_rps is None or verified.high_rps is None:
        return ""
    return f"{rate_text(verified.low_rps)}-{rate_text(verified.high_rps)}"


def _pool_table(plan: Plan, model: ModelPlan) -> Part:
    title = (
        f"{model.name}: {rate_text(model.rate_rps)} requests/s within {model.slo_us / 1e3:.2f} ms "
        f"(margin {model.margin_us / 1e3:.2f} ms); times in ms"
    )
    columns = ["", "blocks", "class", "batch", "workers", "devices", "infer", "transfer", "slack", "rate/s"]
    rows = list(_pools(plan, model))
    served = [_served(pipeline) for pipeline in model.pipelines for _ in pipeline.stages]
    if any(served):
        return table(
            title, [*columns, "serves/s"], [[*row, cell] for row, cell in zip(rows, served, strict=True)]
        )
    return table(title, columns, rows)


def _served(pipeline: PipelinePlan) -> str:
    """What a pipeline serves, if that is less than its slowest pool sustains (``penstock explain`` says why)."""
    return rate_text(pipeline.rate_rps) if pipeline.is_held_down else ""


def _pools(plan: Plan, model: ModelPlan) -> Iterator[list[str]]:
    """One row per stage. Slack is what remains of the SLO less its margin after gathering, inference and transfer."""
    factor = plan.scenario.planner.batch_build_factor
    for number, pipeline in enumerate(model.pipelines):
        gather_us = factor * 1e6 * (pipeline.stages[0].batch - 1) / (model.estimated_rps or 1.0)
        busy_us = sum(stage.inference_us + stage.transfer_us for stage in pipeline.stages)
        slack_ms = (model.slo_us - model.margin_us - gather_us - busy_us) / 1e3
        for s, stage in enumerate(pipeline.stages):
            yield [
                str(number) if s == 0 else "",
                f"[{stage.blocks[0]}, {stage.blocks[1]})",
                _class_of(plan, stage),
                str(stage.batch) if stage.pieces == 1 else f"{stage.batch} in {stage.pieces} pieces",
                str(stage.workers),
                f"{stage.workers / stage.share:.2f}".rstrip("0").rstrip("."),
                f"{stage.inference_us / 1e3:.3f}",
                f"{stage.transfer_us / 1e3:.3f}",
                f"{slack_ms:.3f}" if s == 0 else "",
                rate_text(stage.rate_rps),
            ]


def _class_of(plan: Plan, stage: StagePlan) -> str:
    if plan.scheduled is not None:
        return f"{stage.device_class}, by turns"
    return stage.device_class if stage.share == 1 else f"{stage.device_class} 1/{stage.share}"


def _devices(plan: Plan) -> Iterator[list[str]]:
    for name, spec in plan.scenario.cluster.device_classes.items():
        used = {worker.device for worker in plan.placement if worker.device_class == name}
        yield [name, str(len(used)), str(spec.available)]


def _proof(plan: Plan) -> Iterator[str]:
    yield f"objective  {objective_text(plan.objective)} {unit_of(plan.scenario)}"
    yield f"bound      {objective_text(plan.bound)} ({_what_bounds(plan)})"
    yield f"gap        {plan.gap:.2e}, {plan.status}"
    if (hourly := hourly_cost(plan)) is not None:
        rate = sum(model.offered_rps for model in plan.models)
        yield (
            f"cost       {hourly:.2f} an hour; {cost_per_million(hourly, rate):.2f} a million requests at the "
            f"planned rates"
        )
    if (power := plan_power(plan)) is not None:
        each = ", ".join(f"{name} {joules:.3g} J" for name, joules in power.joules.items())
        yield f"power      {power.planned_w:.0f} W at the planned rates, {power.busy_w:.0f} W busy; a request: {each}"
    if plan.scheduled is not None:
        yield "devices    models take turns: every model is on every device and stops between segments"
    if plan.lent_pools:
        yield "pools      lent: a worker serves its own stage, and while it is idle others of its kind"
    elif plan.shared_pools:
        yield "pools      shared: a worker serves every stage of its class, share and place"
    yield f"solved in  {plan.stats['solve_seconds']:.2f} s"


def _what_bounds(plan: Plan) -> str:
    if plan.planner in ("dart-r", "even"):
        return "from device time: no plan exceeds it, and few come near"
    if plan.scenario.planner.pays_for_devices:
        return "no plan of this space needs less"
    return "no plan of this space exceeds it"
