"""What the planners by rule have in common: what they refuse, and their proof.

A rule proves nothing about its own plan. So its bound is that of the fleet's device time
(:mod:`penstock.plan.planners.device_time_bound`), which holds for every plan of every planner.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.clock import solving_seconds
from penstock.errors import BadInputError
from penstock.plan.documents.plan import ModelPlan, Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.placement.assemble import plan_with_proof
from penstock.plan.planners.device_time_bound import work_bound_rps
from penstock.plan.planning_question import PlanningQuestion
from penstock.result import Result


def refuse_cost(scenario: Scenario, planner: str) -> None:
    """Raise :class:`BadInputError` if the scenario asks for least cost, because a rule cannot plan for that."""
    asked = str(scenario.planner.objective)
    if asked != "throughput":
        raise BadInputError(
            f"the planner {planner} plans for throughput only, the scenario's objective is {asked!r}. "
            f"Set it to 'throughput', or use the planner penstock."
        )


def plan_by_rule(
    models: list[ModelPlan],
    question: PlanningQuestion,
    *,
    planner: str,
    began: float,
    stats: Mapping[str, float | int | str],
) -> Result[Plan]:
    """The plan with its placement and the bound of device time. ``began``: :func:`penstock.clock.solving_seconds`."""
    bound = work_bound_rps(question)
    proof: dict[str, float | int | str] = {"bound_from": "device time", "work_bound": bound}
    proof["solve_seconds"] = solving_seconds() - began
    return plan_with_proof(
        models,
        question.scenario,
        planner=planner,
        bound=bound,
        gap=question.limits.gap,
        stats={**stats, **proof},
    )
