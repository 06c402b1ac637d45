"""What the planners by rule have in common: what they refuse, and the proof they come with.

A rule proves nothing of its own plan, so its bound is that of the fleet's device time
(:mod:`penstock.plan.work_bound`), which every plan of every planner obeys.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from penstock.errors import BadInputError
from penstock.plan.assemble import proven
from penstock.plan.plan import ModelPlan, Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.scenario import Scenario
from penstock.plan.work_bound import work_bound_rps
from penstock.profile.table import Profile
from penstock.result import Result


def refuse_cost(scenario: Scenario, planner: str) -> None:
    """Raise :class:`BadInputError` where the scenario asks for least cost, which a rule does not know."""
    asked = str(scenario.planner.objective)
    if asked != "throughput":
        raise BadInputError(
            f"the planner {planner} plans for throughput only, the scenario's objective is {asked!r}. "
            f"Set it to 'throughput', or use the planner penstock."
        )


def ruled(
    models: list[ModelPlan],
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    *,
    planner: str,
    limits: SearchLimits,
    began: float,
    stats: Mapping[str, float | int | str],
) -> Result[Plan]:
    """The plan with its placement and the bound of device time; ``began`` by :func:`time.perf_counter`."""
    bound = work_bound_rps(scenario, profiles)
    proof: dict[str, float | int | str] = {"bound_from": "device time", "work_bound": bound}
    proof["solve_seconds"] = time.perf_counter() - began
    return proven(models, scenario, planner=planner, bound=bound, gap=limits.gap, stats={**stats, **proof})
