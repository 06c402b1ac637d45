"""The cheapest plan that holds given demands. A judge measures the plans.

For each choice of the grid, the search changes the rates that the program counts. It raises a model's rate if the
judge finds that the model holds less than its demand, and lowers it if the model holds more, until every demand is
met. The cheapest plan that met them counts. Then the cheapest choice of each model is combined, because models affect
each other only through the fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan
from penstock.plan.hold.choice_search import GRID, QUICK
from penstock.plan.hold.choices import Candidates, Choice, ModelChoice, Planned
from penstock.plan.hold.growth import growth
from penstock.plan.interfaces import Evaluate

FITS = 4
"""Plans for one choice. The rates do not change much after two or three."""

LEAST_PART = 0.05
"""If a model holds less than this part of its demand, nothing further is extrapolated from it."""


@dataclass(frozen=True)
class Met:
    """A plan that holds every demand, and the rates that the program counted for it."""

    planned: Planned
    asked_rps: tuple[float, ...]

    @property
    def plan(self) -> Plan:
        """The plan. Its objective is its cost per hour."""
        return self.planned.plan


def search_demands(
    candidates: Candidates,
    demands_rps: Sequence[float],
    evaluate: Evaluate,
    grid: Sequence[ModelChoice] = GRID,
) -> Met:
    """The cheapest plan found that holds ``demands_rps`` by ``evaluate``. :class:`InfeasibleError` if none does."""
    met: list[Met] = []
    failure: InfeasibleError | None = None
    for one in grid:
        try:
            found = _fit(candidates, (one,) * len(demands_rps), demands_rps, demands_rps, evaluate)
        except InfeasibleError as error:
            failure = failure or error
            continue
        met += [found] if found else []
    if not met:
        raise failure or InfeasibleError(
            "no plan holds the demands: their queues miss the SLOs on every fleet tried. Raise the SLOs, add "
            "devices, or ask for a lower attainment."
        )
    choice, asked = _cheapest_each(candidates, met)
    together = _fit(candidates, choice, asked, demands_rps, evaluate) if len(demands_rps) > 1 else None
    return min([*met, *([together] if together else [])], key=lambda one: one.plan.objective)


def _fit(
    candidates: Candidates,
    choice: Choice,
    asked_rps: Sequence[float],
    demands_rps: Sequence[float],
    evaluate: Evaluate,
) -> Met | None:
    """The cheapest plan for ``choice`` that holds the demands, starting from ``asked_rps``. None if none does."""
    best: Met | None = None
    asked = tuple(asked_rps)
    for _ in range(FITS):
        try:
            planned = candidates.plan(choice, asked, QUICK)
        except InfeasibleError:
            if best is None:
                raise
            return best
        held = [model.held_rps for model in evaluate(planned.plan).models]
        holds = all(rate >= demand for rate, demand in zip(held, demands_rps, strict=True))
        if holds and (best is None or planned.plan.objective < best.plan.objective):
            best = Met(planned, asked)
        factors = [
            growth(max(demand / rate, LEAST_PART) if rate > LEAST_PART * demand else 1 / LEAST_PART)
            for rate, demand in zip(held, demands_rps, strict=True)
        ]
        asked = tuple(
            (counted if factor > 1 else min(counted, own)) * factor
            for counted, own, factor in zip(planned.weighted_rps, asked, factors, strict=True)
        )
    return best


def _cheapest_each(candidates: Candidates, met: Sequence[Met]) -> tuple[Choice, tuple[float, ...]]:
    """Each model's choice, and its counted rate, from the plan in which its devices cost least."""
    costs = [candidates.devices_held(one.plan) @ candidates.hourly_cost for one in met]
    models = range(len(met[0].asked_rps))
    cheapest = [min(range(len(met)), key=lambda k, m=m: float(costs[k][m])) for m in models]  # type: ignore[misc]
    return (
        tuple(met[k].planned.choice[m] for m, k in enumerate(cheapest)),
        tuple(met[k].asked_rps[m] for m, k in enumerate(cheapest)),
    )
