"""What every planner is: a scenario and its profiles in, a plan with its proof out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from penstock.plan.plan import Plan
from penstock.plan.scenario import Scenario
from penstock.profile.table import Profile
from penstock.result import Result


@dataclass(frozen=True)
class SearchLimits:
    """When a search may stop: at a relative ``gap`` between plan and bound, or after ``time_limit_s``.

    A smaller gap is taken along where it comes easily.
    """

    gap: float = 1e-3
    time_limit_s: float = 60.0


class Planner(Protocol):
    """A rule that shares a fleet out among models. ``name`` is written into the plan."""

    @property
    def name(self) -> str:
        """The planner's name in files and on the command line."""
        ...

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan found; :class:`penstock.errors.InfeasibleError` says why there is none."""
        ...
