"""Demands that no plan meets: the reason, and how much of them can be served."""

from __future__ import annotations

import math
from collections.abc import Callable

from penstock.errors import InfeasibleError
from penstock.plan.documents.scenario import LEAST_RATE, Scenario
from penstock.plan.no_pipeline import NoPlanError

DIGITS = 4
"""Factors have this many significant digits, so that the printed factor is one that was solved."""

LEAST_PART = 1e-9
"""A smaller part of a demand counts as none. So does one that is less than the least rate of a scenario."""


def largest_part(scenario: Scenario, throughput: Callable[[Scenario], float]) -> float:
    """The largest common factor of all demands that can be served, to :data:`DIGITS` digits. 0 if there is none.

    ``throughput``: the objective of the best plan, for demands as weights. The rate that a fleet serves depends on
    how fast batches gather, and so on the demand. The factor is the greatest fixed point of an increasing function
    (Tarski, 1955). The search approaches it from above.
    """
    factor = 1.0
    least = max(LEAST_PART, LEAST_RATE / min(model.weight for model in scenario.models))
    while factor > least:
        served = throughput(_gathering(scenario, factor))
        if served >= factor:
            return factor
        factor = _rounded_down(min(served, factor * (1 - 10.0**-DIGITS)))
    return 0.0


def _rounded_down(factor: float) -> float:
    """The largest number of :data:`DIGITS` significant digits that is at most ``factor``."""
    if factor <= LEAST_PART:
        return 0.0
    places = DIGITS - 1 - math.floor(math.log10(factor))
    return round(math.floor(factor * 10.0**places) / 10.0**places, places)


def unmet_demand(scenario: Scenario, factor: float | None) -> NoPlanError:
    """The error for demands of which only the part ``factor`` can be served. None if time ended the search."""
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
            f"{start}: no plan was found for any part of it. Lower rate_rps or add devices. With lower rates, "
            f"batches gather slower."
        )
    return NoPlanError(
        f"{start}: the largest part of it that a plan was found for is {factor:#.{DIGITS}g} ({served} "
        f"requests/s). Multiply every rate_rps by that, or add devices."
    )


def undecided(scenario: Scenario, time_limit_s: float) -> InfeasibleError:
    """The error for a search that ended before it found a plan or a proof that there is none."""
    return InfeasibleError(
        f"no plan for {len(scenario.models)} models was found in {time_limit_s:g} s, and no proof that there is "
        f"none. Raise the time limit, or lower the demands."
    )


def _gathering(scenario: Scenario, factor: float) -> Scenario:
    """``scenario`` for throughput, with batches that gather at ``factor`` of the demand."""
    gathering = scenario.with_models(
        lambda model: model.edited(estimated_rps=model.estimated_rps or factor * model.weight)
    )
    return gathering.with_planner(objective="throughput", fill=False)
