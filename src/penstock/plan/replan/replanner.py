"""Replanning: the best plan for a changed scenario, within a stated number of loads.

A *load* puts a piece of a model on a device that does not hold it: for a worker that moves, or for a new one
(:mod:`penstock.plan.questions.difference`). Workers that stay cost nothing, even if their batch or pipeline changes.
:mod:`penstock.plan.replan.replan_search` chooses the workers, with a proof over every template.
:mod:`penstock.plan.replan.fewest_loads` places them. Workers that can stay do stay. More loads never lower the value.
With as many loads as a new plan needs, the value is that of the new plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from penstock.clock import solving_seconds
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.held_pieces import running_pieces
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.latency_budget import ModelBudget, budgets
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.priced_search import MOST_LISTED
from penstock.plan.placement.assemble import model_plans, plan_with_proof
from penstock.plan.planners.pool_planner import PoolPlanner, template_spaces
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.questions.difference import difference
from penstock.plan.replan.device_uses import layouts
from penstock.plan.replan.fewest_loads import settle
from penstock.plan.replan.replan_program import Change, Found
from penstock.plan.replan.replan_search import ChangeSearch
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import Templates, join, list_templates
from penstock.profile.table import Profile
from penstock.result import Result


def replan(
    running: Plan,
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    most_loads: int | None = None,
    limits: SearchLimits | None = None,
) -> Result[Plan]:
    """The best plan for ``scenario`` that a fleet that runs ``running`` reaches with ``most_loads`` loads.

    ``most_loads`` None: any number. ``profiles`` by model name. If the scenario lost devices of ``running`` or does
    not count them any more, their workers are lost too. Raises :class:`InfeasibleError` if no plan is possible with
    so few loads, and names how many are enough, or if the scenario has no plan at all.
    """
    return Replanner.of(running, scenario, profiles, limits or SearchLimits()).within(most_loads)


@dataclass(frozen=True)
class CurvePoint:
    """The best plan within ``most_loads``. It needs ``loads``. Objective and bound are those of the plan."""

    most_loads: int
    loads: int
    objective: float
    bound: float
    plan: Plan


@final
@dataclass(frozen=True)
class Replanner:
    """A running plan and a changed scenario. The change can then be solved for any number of loads.

    ``fresh`` is the plan made without a running one, with the places that need the fewest loads. No number of loads
    gives a better one.
    """

    running: Plan
    profiles: Mapping[str, Profile]
    budgets: list[ModelBudget]
    search: ChangeSearch
    fresh: Result[Plan]

    @classmethod
    def of(
        cls, running: Plan, scenario: Scenario, profiles: Mapping[str, Profile], limits: SearchLimits
    ) -> Replanner:
        """List once what every number of loads needs. Raises :class:`InfeasibleError` if there is no plan.

        The new plans have no split stages.

        Raises :class:`BadInputError` if the running plan shares its pools.
        """
        if running.shared_pools:
            raise BadInputError(
                "the running plan shares its pools, but replanning moves workers that hold one piece each. Plan anew "
                "with 'penstock plan', and see what changes with 'penstock diff'."
            )
        # Its program knows one worker for each batch at a stage.
        scenario = scenario.with_planner(split_stages=1)
        known = layouts(running_pieces(running), scenario, profiles)
        fresh = PoolPlanner(limits).plan(scenario, profiles)
        # The same workers, in the places that need the fewest loads.
        cost = fresh.objective if scenario.planner.pays_for_devices else None
        placement = settle(fresh.solution.models, scenario, known, most_cost=cost)
        plan = fresh.solution.edited(placement=placement)
        question = PlanningQuestion(scenario, profiles, limits)
        budget = budgets(question)
        every = _listed(template_spaces(question, budget))
        change = Change(scenario, question.fleet, known)
        return cls(
            running, profiles, budget, ChangeSearch.of(change, every, limits), replace(fresh, solution=plan)
        )

    def within(self, most_loads: int | None = None) -> Result[Plan]:
        """The best plan with at most ``most_loads`` loads, None for any number."""
        if most_loads is not None and most_loads < 0:
            raise BadInputError(f"the number of loads must be 0 or more, got {most_loads}.")
        began = solving_seconds()
        allowed = math.inf if most_loads is None else most_loads
        limit = -self.fresh.bound if self._is_cost else self.fresh.bound
        found, bound = self.search.best(allowed, limit)
        bound = -bound if self._is_cost else bound
        result = self._result(found, bound, began) if found.workers.any() else None
        if difference(self.running, self.fresh.solution).loads <= allowed and (
            result is None or self._is_better(self.fresh.objective, result.objective)
        ):
            return self.fresh
        if result is None:
            raise self._too_few(most_loads)
        return result

    def curve(self) -> Iterator[CurvePoint]:
        """The value of more loads: from the fewest that allow a plan to as many as the fresh plan needs.

        Each step doubles the loads. A plan within fewer loads is also a plan within more, so it never gets worse.
        """
        fewest = self.search.fewest_loads()
        best = None
        step = 0
        while True:
            allowed = fewest + step
            result = self.within(allowed)
            if best is None or self._is_better(result.objective, best.objective):
                best = result
            loads = difference(self.running, best.solution).loads
            yield CurvePoint(allowed, loads, best.objective, result.bound, best.solution)
            # No plan can use more than twice as many loads as there are workers.
            if self._reaches_fresh(best) or allowed > 2 * len(self.fresh.solution.placement):
                return
            step = 2 * step or 1

    @property
    def _is_cost(self) -> bool:
        return self.search.change.fleet.hourly_cost is not None

    def _is_better(self, objective: float, other: float) -> bool:
        return objective < other if self._is_cost else objective > other

    def _reaches_fresh(self, result: Result[Plan]) -> bool:
        slack = self.search.limits.gap * abs(self.fresh.objective)
        return not self._is_better(self.fresh.objective, result.objective) or (
            abs(result.objective - self.fresh.objective) <= slack
        )

    def _result(self, found: Found, bound: float, began: float) -> Result[Plan]:
        change, scenario = self.search.change, self.search.change.scenario
        models = model_plans(self.search.templates, found.workers, scenario, self.profiles, self.budgets)
        most_cost = -found.value if self._is_cost else None
        placement = settle(models, scenario, change.known, most_cost=most_cost)
        return plan_with_proof(
            models,
            scenario,
            planner="replan",
            bound=bound,
            gap=self.search.limits.gap,
            stats={
                "templates": len(self.search.templates),
                "layouts": len(change.known),
                "fresh_objective": self.fresh.objective,
                "solve_seconds": solving_seconds() - began,
            },
            placement=placement,
        )

    def _too_few(self, most_loads: int | None) -> InfeasibleError:
        if most_loads is None:
            return InfeasibleError(
                "no plan was found within the time limit, though there is one. Raise the time limit."
            )
        return InfeasibleError(
            f"no plan serves every model within {most_loads} loads (pieces put on a device that does not hold "
            f"them). {self.search.fewest_loads()} loads serve one: allow that many."
        )


def _listed(spaces: Sequence[TemplateSpace]) -> Templates:
    """All templates. A worker that stays may serve in any of them, so each is needed for the decision."""
    size = sum(space.size for space in spaces)
    if size > MOST_LISTED:
        raise BadInputError(
            f"the scenario has {size} templates, replanning lists at most {MOST_LISTED}: lower max_stages, "
            f"max_share or the number of models, or plan anew and compare by `penstock diff`."
        )
    return join([list_templates(space) for space in spaces])
