"""The meaning of a plan's objective, in the same words everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.plan.documents.scenario import Scenario


def unit_of(scenario: Scenario) -> str:
    """What the objective of a plan for ``scenario`` counts. The text follows the number."""
    if scenario.planner.objective == "cost":
        return "an hour for the devices used"
    if scenario.planner.objective == "energy":
        return "W for the devices used, when busy"
    return held_unit(scenario)


def held_unit(scenario: Scenario) -> str:
    """What the least rate / weight counts, whatever the objective: parts of the demands, if there are any."""
    return "of every demand" if scenario.has_demands else rate_unit(scenario)


def objective_text(value: float) -> str:
    """An objective, or a bound on one: with four decimals, or with four digits if it is below 0.1."""
    return f"{value:.4f}" if value >= 0.1 or value <= 0 else f"{value:.4g}"


def rate_unit(scenario: Scenario) -> str:
    """The unit of a rate divided by a model's weight. If all weights are 1, it is a plain rate."""
    if any(model.weight != 1 for model in scenario.models):
        return "requests/s per unit of weight"
    return "requests/s" if len(scenario.models) == 1 else "requests/s of each model"
