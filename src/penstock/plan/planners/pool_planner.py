"""The planner ``penstock``: exact pipelines of pools over different devices.

The plan space is that of Kong et al., "PPipe" (USENIX ATC 2025): pipelines serve a model, a pipeline
is a chain of pools, any worker of the next pool may take a batch, and pools match in rate. The paper solves one
integer program over cuts, classes and batches. Here every template is listed (:mod:`penstock.plan.templates.table`).
So the program is small enough to solve, with a proof that covers all templates
(:mod:`penstock.plan.exact.listed_search`). If there are too many to list, they are priced instead
(:mod:`penstock.plan.large.priced_search`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from penstock.clock import solving_seconds
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.latency_budget import ModelBudget, budgets
from penstock.plan.exact.listed_search import SearchOutcome, search
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.priced_search import MOST_LISTED, search_spaces
from penstock.plan.no_pipeline import NoPlanError, fleet_too_small, no_pipeline
from penstock.plan.placement.assemble import model_plans, plan_with_proof
from penstock.plan.placement.max_min_fill import fill
from penstock.plan.planners.remedies import with_remedies
from penstock.plan.planners.unmet_demand import largest_part, undecided, unmet_demand
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.pricing import fastest
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import join, list_templates
from penstock.profile.table import Profile
from penstock.result import Result

ANY_GAP = 1e9
"""If the question is only whether there is a plan, the first plan found answers it."""


@final
@dataclass(frozen=True)
class PoolPlanner:
    """Pipelines of at most the scenario's ``max_stages`` stages, on any classes and shares."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "penstock"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan. :class:`penstock.errors.InfeasibleError` says why there is none, and what would help."""
        return plan_or_advise(PlanningQuestion(scenario, profiles, self.limits), self.name)


def plan_or_advise(question: PlanningQuestion, planner: str) -> Result[Plan]:
    """As :func:`plan_templates`, but if there is no plan, the error also names the smallest changes that help."""
    time_limit_s = question.limits.time_limit_s
    deadline = solving_seconds() + time_limit_s

    def solve(changed: Scenario) -> None:
        left_s = deadline - solving_seconds()
        if left_s <= 0.0:
            raise undecided(changed, time_limit_s)
        asked = question.about(changed).within(left_s, ANY_GAP)
        outcome = _search(template_spaces(asked, budgets(asked)), asked)
        if not outcome.found:
            raise (
                fleet_too_small(changed, question.profiles)
                if outcome.excludes_all
                else undecided(changed, time_limit_s)
            )

    try:
        return plan_templates(question, planner)
    except NoPlanError as reason:
        raise with_remedies(reason, question.scenario, question.profiles, solve, deadline) from None


def plan_templates(question: PlanningQuestion, planner: str) -> Result[Plan]:
    """The best plan over the question's templates. ``planner`` is the name written into the plan."""
    scenario, limits = question.scenario, question.limits
    began = solving_seconds()
    deadline = began + limits.time_limit_s
    budget = budgets(question)
    fleet = question.fleet
    outcome = _search(template_spaces(question, budget), question)
    if not outcome.found:
        if not outcome.excludes_all:
            raise undecided(scenario, limits.time_limit_s)
        if fleet.hourly_cost is None:
            raise fleet_too_small(scenario, question.profiles)

        def throughput(asked: Scenario) -> float:
            left_s = deadline - solving_seconds()
            if left_s <= 0.0:
                raise undecided(asked, limits.time_limit_s)
            return plan_templates(question.about(asked).within(left_s), planner).objective

        raise unmet_demand(scenario, _part_or_none(scenario, throughput))
    fills = scenario.planner.fill and fleet.hourly_cost is None
    workers = fill(outcome, fleet, limits) if fills else outcome.workers
    stats = {**outcome.stats, "solve_seconds": solving_seconds() - began}
    return plan_with_proof(
        model_plans(outcome.templates, workers, scenario, question.profiles, budget),
        scenario,
        planner=planner,
        bound=abs(outcome.bound),
        gap=limits.gap,
        stats=stats,
    )


def _part_or_none(scenario: Scenario, throughput: Callable[[Scenario], float]) -> float | None:
    """The largest part of the demand that can be served. None if the time limit ends the search for it."""
    try:
        return largest_part(scenario, throughput)
    except NoPlanError:
        raise
    except InfeasibleError:
        return None


def _search(spaces: Sequence[TemplateSpace], question: PlanningQuestion) -> SearchOutcome:
    """Search all templates if they are few enough to list. Otherwise search those that prices select."""
    if sum(space.size for space in spaces) > MOST_LISTED:
        return search_spaces(spaces, question.fleet, question.limits)
    return search(join([list_templates(space) for space in spaces]), question.fleet, question.limits)


def template_spaces(question: PlanningQuestion, budget: Sequence[ModelBudget]) -> list[TemplateSpace]:
    """The templates of every model. Raises :class:`penstock.errors.InfeasibleError` for a model that has none."""
    spaces = []
    for m, own in enumerate(budget):
        space = question.space(m, own.latency)
        if not (fastest(space).latency_us <= space.limit_us).any():
            raise no_pipeline(question, m, own.build_us)
        spaces.append(space)
    return spaces
