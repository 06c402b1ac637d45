"""The planner ``np``: no partitioning. Every worker runs the whole model on a whole device.

The baseline of Kong et al., "PPipe" (USENIX ATC 2025, evaluation): the same program, with one stage and
share 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.pools import plan_or_advise
from penstock.plan.scenario import Scenario
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class WholeModelPlanner:
    """One stage, share 1."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "np"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan; :class:`penstock.errors.InfeasibleError` says why there is none, and what would help."""
        return plan_or_advise(scenario, profiles, self.limits, planner=self.name, max_stages=1, max_share=1)
