"""Demands that no plan meets: why, and how much of them can be served."""

from __future__ import annotations

import math
from collections.abc import Callable

from penstock.errors import InfeasibleError
from penstock.plan.infeasible import NoPlanError
from penstock.plan.scenario import Scenario

DIGITS = 4
"""Factors have so many significant digits, so that the one that is printed is one that was solved."""

LEAST_PART = 1e-9
"""Less of a demand is none."""


def part_of_demand(scenario: Scenario, factor: float) -> Scenario:
    """``scenario`` with every demand multiplied by ``factor``."""
    models = [model.demanding((model.rate_rps or model.weight) * factor) for model in scenario.models]
    return scenario.model_copy(update={"models": models})


def largest_part(scenario: Scenario, throughput: Callable[[Scenario], float]) -> float:
    """The largest common factor of all demands that can be served, to :data:`DIGITS` digits; 0 if none.

    ``throughput``: the objective of the best plan, for demands as weights. What a fleet serves depends on how
    fast batches gather, and so on the demand: the factor is the greatest fixed point of a rising function
    (Tarski, 1955), reached from above.
    """
    factor = 1.0
    while factor > LEAST_PART:
        served = throughput(_gathering(scenario, factor))
        if served >= factor:
            return factor
        factor = _rounded_down(min(served, factor * (1 - 10.0**-DIGITS)))
    return 0.0


def _rounded_down(factor: float) -> float:
    """The largest number of :data:`DIGITS` significant digits that is no more than ``factor``."""
    if factor <= LEAST_PART:
        return 0.0
    places = DIGITS - 1 - math.floor(math.log10(factor))
    return round(math.floor(factor * 10.0**places) / 10.0**places, places)


def unmet_demand(scenario: Scenario, factor: float | None) -> NoPlanError:
    """The error for demands of which only the part ``factor`` can be served; None where time ended the search."""
    held = ", ".join(f"{spec.available} {name}" for name, spec in scenario.cluster.device_classes.items())
    start = f"the cluster ({held}) cannot meet the demand"
    if factor is None:
        return NoPlanError(f"{start}. The time limit ended the search for the part of it that it can meet.")
    served = ", ".join(
        f"{model.name} {factor * (model.rate_rps or 0.0):.6g} of {model.rate_rps:.6g}"
        for model in scenario.models
    )
    if factor <= 0.0:
        return NoPlanError(
            f"{start}: no plan was found for any part of it. Lower rate_rps or add devices; where less arrives, "
            f"batches gather slower."
        )
    return NoPlanError(
        f"{start}: the largest part of it that a plan was found for is {factor:#.{DIGITS}g} ({served} "
        f"requests/s). Multiply every rate_rps by that, or add devices."
    )


def undecided(scenario: Scenario, time_limit_s: float) -> InfeasibleError:
    """The error for a search that ended before it found a plan or the proof that there is none."""
    return InfeasibleError(
        f"no plan for {len(scenario.models)} models was found in {time_limit_s:g} s, nor a proof that there is "
        f"none. Raise the time limit, or lower the demands."
    )


def _gathering(scenario: Scenario, factor: float) -> Scenario:
    """``scenario`` for throughput, its batches gathering at ``factor`` of the demand."""
    models = [
        model.model_copy(update={"estimated_rps": model.estimated_rps or factor * model.weight})
        for model in scenario.models
    ]
    planner = scenario.planner.model_copy(update={"objective": "throughput", "fill": False})
    return scenario.model_copy(update={"models": models, "planner": planner})
