"""What the figures of a plan's objective count, in the same words for every verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.plan.scenario import Scenario


def unit_of(scenario: Scenario) -> str:
    """What the objective of a plan for ``scenario`` counts, said after the figure."""
    if scenario.planner.objective == "cost":
        return "an hour for the devices used"
    has_demands = scenario.models[0].rate_rps is not None
    return "of every demand" if has_demands else "requests/s per unit of weight"
