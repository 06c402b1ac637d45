"""The bounds of :mod:`penstock.plan.goodput_bound` on the very arrivals of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.goodput_bound.any_policy import any_policy_bound
from penstock.plan.goodput_bound.chain_uses import ChainUses, chain_uses
from penstock.plan.goodput_bound.given_pools import pools_bound
from penstock.plan.goodput_bound.static_mix import Demand, fluid, static_bound
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.simulate.judge.trial import Trial
from penstock.units import US_PER_S

MOST_STAGES = 3
"""At least so many stages count: the closed loop plans with three if the scenario allows two."""


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
    first_rps = 1.0 / fluid(uses, weights).fleet_part
    static_rps = static_bound(uses, weights, trial.paths, target, slo_s, first_rps)
    price = _prices_near(uses, weights, static_rps)
    any_rps = any_policy_bound(uses, weights, trial.paths, target, price, slo_s, static_rps)
    return GoodputBounds(static_rps, any_rps)


def _prices_near(uses: ChainUses, weights: Sequence[float], rate_rps: float) -> Demand:
    """The prices of devices and links where the fleet is just used up, at ``rate_rps`` per unit of weight.

    What the links carry is fixed, so the prices at another rate tell of other bottlenecks. If the links cannot carry
    this rate for ever, there are no prices, and those of a lower one do: the bound holds at any.
    """
    while True:
        price = fluid(uses, [rate_rps * weight for weight in weights])
        if np.isfinite(price.fleet_part):
            return price
        rate_rps *= 0.9


def bounds_of_pools(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, target: float
) -> list[float] | None:
    """For each model the rate that no policy holds with the pools of ``plan``; None if stages share pools."""
    if plan.scheduled is not None or plan.shared_pools:
        return None
    table = dispatch_table(plan, profiles)
    return pools_bound(table, [model.offered_rps for model in plan.models], trial.paths, target)
