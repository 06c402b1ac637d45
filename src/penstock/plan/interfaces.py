"""Types of planners and judges.

A planner takes a scenario and profiles, and returns a plan with its proof. The planner does not know the simulator:
the caller that runs the closed loop passes an :data:`Evaluate`, which measures plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.profile.table import Profile
from penstock.result import Result


@dataclass(frozen=True)
class SearchLimits:
    """When a search may stop: at a relative ``gap`` between plan and bound, or after ``time_limit_s``.

    If a search can reach a smaller gap in little time, it does.
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


@dataclass(frozen=True)
class ModelScore:
    """The highest tried rate at which one model met the target, with the attainment at that rate.

    ``low_rps`` and ``high_rps``: the 95% confidence interval of the rate, over seeds. ``curve``: every (rate,
    attainment) tried, by rate.
    """

    name: str
    held_rps: float
    attainment: float
    low_rps: float
    high_rps: float
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Score:
    """One entry a model, in the plan's order."""

    models: tuple[ModelScore, ...]

    def goodput(self, weights: Sequence[float]) -> float:
        """The least held rate / weight over the models, in requests per second."""
        return min(model.held_rps / weight for model, weight in zip(self.models, weights, strict=True))


Evaluate = Callable[[Plan], Score]
"""Measures the rates that a plan holds, all its models served at once."""

Judge = Callable[[Plan, Score], Score]
"""Measures a plan again, on more runs. The score so far says where to begin."""

Attainments = Callable[[Plan, Sequence[float]], Sequence[float]]
"""Measures each model's attainment at the given rates, all models served at once."""
