"""The planner ``penstock``: pool-based pipelines over unlike devices, exact.

The plan space is that of Kong et al., "PPipe" (USENIX ATC 2025): a model is served by pipelines, a pipeline
is a chain of pools, any worker of the next pool may take a batch, pools match in rate. They pose one
integer program over cuts, classes and batches; here every template is listed (:mod:`penstock.plan.templates`),
which makes the program small enough to solve with a proof that covers all of them (:mod:`penstock.plan.search`).
Where there are too many to list, they are priced instead (:mod:`penstock.plan.space_search`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from penstock.errors import InfeasibleError
from penstock.plan.assemble import model_plans, proven
from penstock.plan.budget import ModelBudget, budgets, fleet_of
from penstock.plan.demand import largest_part, undecided, unmet_demand
from penstock.plan.fill import fill
from penstock.plan.infeasible import NoPlanError, fleet_too_small, no_pipeline
from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.pricing import fastest
from penstock.plan.program import Fleet
from penstock.plan.remedies import advised
from penstock.plan.scenario import Scenario
from penstock.plan.search import SearchOutcome, search
from penstock.plan.space_search import MOST_LISTED, search_spaces
from penstock.plan.template_space import TemplateSpace
from penstock.plan.templates import join, list_templates
from penstock.profile.table import Profile
from penstock.result import Result

ANY_GAP = 1e9
"""Where the question is whether there is a plan at all, the first one answers it."""


@final
@dataclass(frozen=True)
class PoolPlanner:
    """Pipelines of at most the scenario's ``max_stages`` stages, on any classes and shares."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "penstock"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan; :class:`penstock.errors.InfeasibleError` says why there is none, and what would help."""
        return plan_or_advise(
            scenario, profiles, self.limits, planner=self.name, max_stages=scenario.planner.max_stages
        )


def plan_or_advise(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    limits: SearchLimits,
    *,
    planner: str,
    max_stages: int,
    max_share: int | None = None,
) -> Result[Plan]:
    """As :func:`plan_templates`; the reason why there is no plan comes with the smallest changes that help."""

    deadline = time.perf_counter() + limits.time_limit_s

    def solve(asked: Scenario) -> None:
        left_s = deadline - time.perf_counter()
        if left_s <= 0.0:
            raise undecided(asked, limits.time_limit_s)
        budget = budgets(asked, profiles, max_stages=max_stages, max_share=max_share)
        spaces = template_spaces(asked, profiles, budget, max_stages=max_stages, max_share=max_share)
        outcome = _search(spaces, fleet_of(asked), SearchLimits(ANY_GAP, left_s))
        if not outcome.found:
            raise fleet_too_small(asked) if outcome.excludes_all else undecided(asked, limits.time_limit_s)

    try:
        return plan_templates(
            scenario, profiles, limits, planner=planner, max_stages=max_stages, max_share=max_share
        )
    except NoPlanError as reason:
        raise advised(reason, scenario, profiles, solve, deadline) from None


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
    deadline = began + limits.time_limit_s
    budget = budgets(scenario, profiles, max_stages=max_stages, max_share=max_share)
    spaces = template_spaces(scenario, profiles, budget, max_stages=max_stages, max_share=max_share)
    fleet = fleet_of(scenario)
    outcome = _search(spaces, fleet, limits)
    if not outcome.found:
        if not outcome.excludes_all:
            raise undecided(scenario, limits.time_limit_s)
        if fleet.hourly_cost is None:
            raise fleet_too_small(scenario)

        def throughput(asked: Scenario) -> float:
            left = replace(limits, time_limit_s=deadline - time.perf_counter())
            if left.time_limit_s <= 0.0:
                raise undecided(asked, limits.time_limit_s)
            return plan_templates(
                asked, profiles, left, planner=planner, max_stages=max_stages, max_share=max_share
            ).objective

        raise unmet_demand(scenario, _part_or_none(scenario, throughput))
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


def _part_or_none(scenario: Scenario, throughput: Callable[[Scenario], float]) -> float | None:
    """The largest part of the demand that can be served, None where the time limit ends the search for it."""
    try:
        return largest_part(scenario, throughput)
    except NoPlanError:
        raise
    except InfeasibleError:
        return None


def _search(spaces: Sequence[TemplateSpace], fleet: Fleet, limits: SearchLimits) -> SearchOutcome:
    """Over all templates where they are few enough to list, else over those that their prices single out."""
    if sum(space.size for space in spaces) > MOST_LISTED:
        return search_spaces(spaces, fleet, limits)
    return search(join([list_templates(space) for space in spaces]), fleet, limits)


def template_spaces(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    budget: Sequence[ModelBudget],
    *,
    max_stages: int,
    max_share: int | None = None,
) -> list[TemplateSpace]:
    """The templates of every model; :class:`penstock.errors.InfeasibleError` for a model that has none."""
    spaces = []
    for m, model in enumerate(scenario.models):
        profile = profiles[model.name]
        space = TemplateSpace.of(
            profile,
            scenario.cluster,
            limit_us=budget[m].latency.limit_us,
            build_us=budget[m].build_us,
            max_stages=max_stages,
            max_share=max_share,
            model=m,
        )
        if not (fastest(space).latency_us <= space.limit_us).any():
            raise no_pipeline(
                scenario, profile, model, budget[m].build_us, max_stages=max_stages, max_share=max_share
            )
        spaces.append(space)
    return spaces
