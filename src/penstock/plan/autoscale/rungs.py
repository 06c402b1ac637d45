"""The rungs of a ladder: plans of least cost for rising rates, each with the devices that it needs.

A rate is a factor on the rates that the scenario demands. So models keep their proportions; if one of them has more of
the load than its proportion, the factor is that of this model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan, devices_of
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import Planner
from penstock.plan.questions.capacity import aimed_at
from penstock.plan.questions.cost import hourly_cost
from penstock.profile.table import Profile


@dataclass(frozen=True)
class Rung:
    """What serves up to ``factor`` times the base rates: its devices by class, and what they cost in an hour."""

    factor: float
    devices: Mapping[str, int]
    hourly_cost: float


def cheapest_plan(
    scenario: Scenario, profiles: Mapping[str, Profile], planner: Planner, factor: float
) -> Plan | None:
    """The plan of least cost for ``factor`` times the demands; None if the fleet cannot serve them.

    A low factor may have none though a higher one has: batches gather too slowly there.
    """
    try:
        return planner.plan(aimed_at(scenario.with_demand(factor), "cost"), profiles).solution
    except InfeasibleError:
        return None


def rung_of(plan: Plan, factor: float) -> Rung:
    """The rung of ``plan``, which was found to serve ``factor``. All its devices have a price."""
    cost = hourly_cost(plan)
    assert cost is not None  # a plan of least cost has prices
    used = {name: count for name, count in devices_of(plan).items() if count}
    return Rung(factor, used, cost)


def worthwhile(rungs: Sequence[Rung]) -> list[int]:
    """The rungs that no other beats by serving at least as much for less or as much: their places, by factor."""
    kept: list[int] = []
    for place in sorted(range(len(rungs)), key=lambda one: (-rungs[one].factor, rungs[one].hourly_cost)):
        if not kept or rungs[place].hourly_cost < rungs[kept[-1]].hourly_cost:
            kept.append(place)
    return kept[::-1]


def all_of(*needs: Mapping[str, int]) -> dict[str, int]:
    """The least devices that hold every one of ``needs``."""
    names = sorted({name for one in needs for name in one})
    return {name: max(one.get(name, 0) for one in needs) for name in names}


def suffices(there: Mapping[str, int], needed: Mapping[str, int]) -> bool:
    """Whether the devices ``there`` hold those that are ``needed``."""
    return all(there.get(name, 0) >= count for name, count in needed.items())


def load_factor(rates_rps: Iterable[float], base_rps: Iterable[float]) -> float:
    """The factor of a load: that of the model that has most of its base rate."""
    return max(rate / base for rate, base in zip(rates_rps, base_rps, strict=True))
