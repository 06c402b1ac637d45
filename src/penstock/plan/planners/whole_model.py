"""The planner ``np``: no partitioning. Every worker runs the whole model on a whole device.

This is the baseline of Kong et al., "PPipe" (USENIX ATC 2025, evaluation): the same program, with one stage and
share 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import plan_or_advise
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class WholeModelPlanner:
    """One stage, share 1."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "np"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan. :class:`penstock.errors.InfeasibleError` says why there is none, and what would help."""
        return plan_or_advise(PlanningQuestion(scenario, profiles, self.limits).whole_models(), self.name)
