"""The planner ``penstock``: pool-based pipelines over unlike devices, exact.

The plan space is that of Kong et al., "PPipe" (USENIX ATC 2025): a model is served by pipelines, a pipeline
is a chain of pools, any worker of the next pool may take a batch, pools match in rate. They pose one
integer program over cuts, classes and batches; here every template is enumerated
(:mod:`penstock.plan.templates`), which makes the program small enough to solve with a proof that covers
all of them (:mod:`penstock.plan.search`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from penstock.plan.assemble import model_plans, proven
from penstock.plan.budget import ModelBudget, budgets, fleet_of
from penstock.plan.demand import largest_part, undecided, unmet_demand
from penstock.plan.fill import fill
from penstock.plan.infeasible import fleet_too_small, no_pipeline
from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.scenario import Scenario
from penstock.plan.search import search
from penstock.plan.templates import Templates, enumerate_templates, join
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class PoolPlanner:
    """Pipelines of at most the scenario's ``max_stages`` stages, on any classes and shares."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "penstock"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan; :class:`penstock.errors.InfeasibleError` names the model and the nearest SLO."""
        return plan_templates(
            scenario, profiles, self.limits, planner=self.name, max_stages=scenario.planner.max_stages
        )


def plan_templates(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    limits: SearchLimits,
    *,
    planner: str,
    max_stages: int,
    max_share: int | None = None,
) -> Result[Plan]:
    """The best plan over the templates of at most ``max_stages`` stages and shares up to ``max_share``."""
    began = time.perf_counter()
    budget = budgets(scenario, profiles)
    templates = feasible_templates(scenario, profiles, budget, max_stages=max_stages, max_share=max_share)
    fleet = fleet_of(scenario)
    outcome = search(templates, fleet, limits)
    if not outcome.found:
        if not outcome.excludes_all:
            raise undecided(scenario, limits.time_limit_s)
        if fleet.hourly_cost is None:
            raise fleet_too_small(scenario)

        def throughput(asked: Scenario) -> float:
            return plan_templates(
                asked, profiles, limits, planner=planner, max_stages=max_stages, max_share=max_share
            ).objective

        raise unmet_demand(scenario, largest_part(scenario, throughput))
    fills = scenario.planner.fill and fleet.hourly_cost is None
    workers = fill(outcome, fleet, limits) if fills else outcome.workers
    stats = {**outcome.stats, "solve_seconds": time.perf_counter() - began}
    return proven(
        model_plans(outcome.templates, workers, scenario, profiles, budget),
        scenario,
        planner=planner,
        bound=abs(outcome.bound),
        gap=limits.gap,
        stats=stats,
    )


def feasible_templates(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    budget: Sequence[ModelBudget],
    *,
    max_stages: int,
    max_share: int | None = None,
) -> Templates:
    """Every template of every model; :class:`penstock.errors.InfeasibleError` for a model that has none."""
    parts = []
    for m, model in enumerate(scenario.models):
        profile = profiles[model.name]
        part = enumerate_templates(
            profile, scenario.cluster, budget[m].latency, max_stages=max_stages, max_share=max_share, model=m
        )
        if not len(part):
            raise no_pipeline(
                scenario, profile, model, budget[m].build_us, max_stages=max_stages, max_share=max_share
            )
        parts.append(part)
    return join(parts)
