"""Rules of what a plan claims: its objective, its bound and gap, demands that are met, rates that were simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock.plan.documents.plan import Plan
from penstock.plan.documents.rules.tolerance import RELATIVE_TOLERANCE, differs
from penstock.plan.documents.scenario import ServedModel
from penstock.result import Status

DEMAND_TOLERANCE = 2e-6
"""The planner meets a demand only as exactly as the solver decides: to 1e-6."""

STATUSES = tuple(status.name.lower() for status in Status)
IMPORTED = "imported"


def check_proof(plan: Plan) -> Iterator[str]:
    """The objective is that of the plan, and the gap is that of objective and bound."""
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
    if differs(plan.objective, objective):
        yield f"objective {plan.objective}, {meaning.format(objective)}"
    if sense * (plan.bound - plan.objective) < -RELATIVE_TOLERANCE * abs(plan.objective):
        side = "below" if sense > 0 else "above"
        yield f"bound {plan.bound} is {side} the objective {plan.objective}: it cannot be proven"
    gap = abs(plan.bound - plan.objective) / max(abs(plan.objective), 1e-12)
    if abs(plan.gap - gap) > RELATIVE_TOLERANCE:
        yield f"gap {plan.gap}, bound and objective give {gap}"


def check_verification(plan: Plan) -> Iterator[str]:
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
