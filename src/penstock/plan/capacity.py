"""Capacity: what a rate costs, and what one more device of each class is worth.

Both are answered by planning again, each time with a proof. A dual price of the linear relaxation says what a
sliver of a device is worth where workers can be split; with whole workers one more device may be worth nothing,
or, where it completes a pipeline, many times its price. So duals only stand beside what was solved for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.budget import budgets, fleet_of
from penstock.plan.columns import relax_spaces
from penstock.plan.demand import largest_part
from penstock.plan.plan import Plan
from penstock.plan.planner import Planner
from penstock.plan.pools import template_spaces
from penstock.plan.scenario import Scenario
from penstock.profile.table import Profile
from penstock.result import Result

MOST_RISES = 8
WORTH_A_RISE = 1e-3
"""The most that is served is sought in so many steps, each of at least this part."""


@dataclass(frozen=True)
class CostPoint:
    """The least cost of a rate. ``factor``: least rate / weight, or part of the demands.

    ``rates_rps`` by model are what is asked for, ``devices`` by class what that takes; ``bound``: no plan
    costs less.
    """

    factor: float
    rates_rps: Mapping[str, float]
    hourly_cost: float
    bound: float
    devices: Mapping[str, int]


@dataclass(frozen=True)
class DeviceWorth:
    """What one device more than the ``count`` in service does to the objective.

    ``objective`` is that of the plan with it; ``worth`` the improvement over the plan without, proven to lie
    within ``least`` and ``most``. ``dual``: the price in the relaxation of the fleet as it is; None for a
    class without devices, which has none there.
    """

    device_class: str
    count: int
    objective: float
    worth: float
    least: float
    most: float
    dual: float | None


def aimed_at(scenario: Scenario, objective: Literal["throughput", "cost"]) -> Scenario:
    """``scenario`` with another objective; nothing is filled, as only the objective is asked for."""
    planner = scenario.planner.model_copy(update={"objective": objective, "fill": False})
    return scenario.model_copy(update={"planner": planner})


def most_served(
    scenario: Scenario, profiles: Mapping[str, Profile], planner: Planner, throughput: float
) -> float:
    """The largest factor of every model's weight or demand found that the cluster serves as a demand.

    A plan of weights reckons with an estimate of its rate, which may lie above what whole workers come to; here
    batches gather no faster than what is served. So ``served(factor)`` is the best throughput with batches that
    gather at ``factor``: it rises with it, and a factor that it reaches can be demanded. From ``throughput``, the
    objective of a plan of ``scenario``, the factor goes up while more is served than asked, else down
    (:func:`penstock.plan.demand.largest_part`).
    """

    def served(factor: float) -> float:
        asked = aimed_at(_demanding(scenario, factor), "throughput")
        return factor * planner.plan(asked, profiles).objective

    factor, reached = throughput, served(throughput)
    if reached < factor:
        asked = _demanding(scenario, factor)
        return factor * largest_part(asked, lambda one: planner.plan(one, profiles).objective)
    for _ in range(MOST_RISES):
        factor, reached = reached, served(reached)
        if reached <= factor * (1 + WORTH_A_RISE):
            break
    return factor


def cost_curve(
    scenario: Scenario, profiles: Mapping[str, Profile], planner: Planner, factors: Sequence[float]
) -> Iterator[CostPoint]:
    """The least hourly cost of serving ``factor`` times every model's weight or demand, for each factor.

    A factor that the cluster cannot serve has no point. That may happen below one that it can: where less
    arrives, batches gather slower. :class:`BadInputError` where a class with devices has no ``hourly_cost``.
    """
    classes = scenario.cluster.device_classes.items()
    unpriced = [name for name, spec in classes if spec.count and spec.hourly_cost is None]
    if unpriced:
        raise BadInputError(f"a cost curve needs prices: give hourly_cost to {', '.join(unpriced)}.")
    for factor in factors:
        asked = aimed_at(_demanding(scenario, factor), "cost")
        try:
            result = planner.plan(asked, profiles)
        except InfeasibleError:
            continue
        yield CostPoint(
            factor=factor,
            rates_rps={model.name: model.weight for model in asked.models},
            hourly_cost=result.objective,
            bound=result.bound,
            devices=devices_of(result.solution),
        )


def _demanding(scenario: Scenario, factor: float) -> Scenario:
    """``scenario`` with ``factor`` times every weight or demand as the demand."""
    models = [model.demanding(factor * model.weight) for model in scenario.models]
    return scenario.model_copy(update={"models": models})


def devices_of(plan: Plan) -> dict[str, int]:
    """How many devices of each class of the cluster hold a worker."""
    used = {(worker.device_class, worker.device) for worker in plan.placement}
    return {
        name: sum(device_class == name for device_class, _ in used)
        for name in plan.scenario.cluster.device_classes
    }


def worth_of_devices(
    scenario: Scenario, profiles: Mapping[str, Profile], planner: Planner, base: Result[Plan]
) -> Iterator[DeviceWorth]:
    """What one more device of each class that all ``profiles`` know is worth; ``base`` is the plan as it is.

    The worth is more throughput or less cost. A class without devices but with latencies is tried too.
    """
    duals = _duals(scenario, profiles)
    improves = -1.0 if scenario.planner.objective == "cost" else 1.0
    for name, spec in scenario.cluster.device_classes.items():
        if not all(profile.shares_of(name) for profile in profiles.values()):
            continue
        if improves < 0 and spec.hourly_cost is None:
            continue
        more = planner.plan(_with_one_more(scenario, name), profiles)
        # The plan without the device is a plan with it: a worth below 0 is what the gap left open.
        yield DeviceWorth(
            device_class=name,
            count=spec.available,
            objective=more.objective,
            worth=max(0.0, improves * (more.objective - base.objective)),
            least=max(0.0, improves * (more.objective - base.bound)),
            most=max(0.0, improves * (more.bound - base.objective)),
            dual=duals[name] if spec.count else None,
        )


def _with_one_more(scenario: Scenario, device_class: str) -> Scenario:
    classes = dict(scenario.cluster.device_classes)
    spec = classes[device_class]
    classes[device_class] = spec.model_copy(update={"count": spec.count + 1})
    cluster = scenario.cluster.model_copy(update={"device_classes": classes})
    return scenario.model_copy(update={"cluster": cluster})


def _duals(scenario: Scenario, profiles: Mapping[str, Profile]) -> dict[str, float]:
    """What a sliver more of each class is worth in the relaxation over pipelines, in units of the objective."""
    budget, fleet = budgets(scenario, profiles), fleet_of(scenario)
    spaces = template_spaces(scenario, profiles, budget, max_stages=scenario.planner.max_stages)
    prices = relax_spaces(spaces, fleet).prices
    worth = np.maximum(prices.device - fleet.device_cost, 0.0).tolist()
    return dict(zip(scenario.cluster.device_classes, worth, strict=True))
