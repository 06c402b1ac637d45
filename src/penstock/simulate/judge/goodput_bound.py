"""The bounds of :mod:`penstock.plan.goodput_bound` on the very arrivals of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.goodput_bound.any_policy import any_policy_bound
from penstock.plan.goodput_bound.chain_uses import chain_uses
from penstock.plan.goodput_bound.given_pools import pools_bound
from penstock.plan.goodput_bound.static_mix import fluid, static_bound
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.simulate.judge.trial import Trial
from penstock.units import US_PER_S

MOST_STAGES = 3
"""At least so many stages count: the closed loop plans with three even if the scenario allows fewer."""


@dataclass(frozen=True)
class GoodputBounds:
    """Least rate / weight in requests per second: no fixed division of the fleet, and no policy, holds more."""

    static_rps: float
    any_policy_rps: float


def goodput_bounds(
    scenario: Scenario, profiles: Mapping[str, Profile], trial: Trial, target: float
) -> GoodputBounds:
    """The two bounds of ``scenario`` for a plan that is made anew, at the share ``target`` of the trial's requests."""
    stages = max(MOST_STAGES, scenario.planner.max_stages)
    question = PlanningQuestion(scenario.with_planner(max_stages=stages), profiles)
    uses = chain_uses(question)
    weights = question.weights
    slo_s = max(model.latency_slo_us for model in scenario.models) / US_PER_S
    mean = fluid(uses, weights)
    static_rps = static_bound(uses, weights, trial.paths, target, slo_s, 1.0 / mean.fleet_part)
    any_rps = any_policy_bound(uses, weights, trial.paths, target, mean, slo_s, static_rps)
    return GoodputBounds(static_rps, any_rps)


def bounds_of_pools(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, target: float
) -> list[float] | None:
    """For each model the rate that no policy holds with the pools of ``plan``; None if stages share pools."""
    if plan.scheduled is not None or plan.shared_pools:
        return None
    table = dispatch_table(plan, profiles)
    return pools_bound(table, [model.offered_rps for model in plan.models], trial.paths, target)
