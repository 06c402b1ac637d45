"""Capacity: the cost of a rate, and the value of one more device of each class.

Both answers come from new plans, each with a proof. A dual price of the linear relaxation is the value of a small
part of a device if workers can be split. With whole workers, one more device may have no value. If it completes a
pipeline, its value may be many times its price. So duals are only shown beside the solved values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from penstock.cluster import MOST_DEVICES
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.plan import Plan, devices_of
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.latency_budget import budgets
from penstock.plan.interfaces import Planner
from penstock.plan.large.column_generation import relax_spaces
from penstock.plan.planners.pool_planner import template_spaces
from penstock.plan.planners.unmet_demand import largest_part
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.result import Result

MOST_RISES = 8
WORTH_A_RISE = 1e-3
"""The most that is served is searched in at most so many steps. Each step is at least this part."""


@dataclass(frozen=True)
class CostPoint:
    """The least cost of a rate. ``factor``: least rate / weight, or part of the demands.

    ``rates_rps``: the requested rates by model. ``devices``: the devices that they need, by class. ``bound``: no plan
    costs less.
    """

    factor: float
    rates_rps: Mapping[str, float]
    hourly_cost: float
    bound: float
    devices: Mapping[str, int]


@dataclass(frozen=True)
class DeviceWorth:
    """How the objective changes with one device more than the ``count`` in service.

    ``objective`` is that of the plan with the device. ``worth`` is the improvement over the plan without it. It is
    proven to be between ``least`` and ``most``. ``dual``: the price in the relaxation of the present fleet. None for
    a class without devices, because it has no price there.
    """

    device_class: str
    count: int
    objective: float
    worth: float
    least: float
    most: float
    dual: float | None


def aimed_at(scenario: Scenario, objective: Literal["throughput", "cost", "energy"]) -> Scenario:
    """``scenario`` with another objective and without filling, because only the objective matters."""
    return scenario.with_planner(objective=objective, fill=False)


def most_served(
    scenario: Scenario, profiles: Mapping[str, Profile], planner: Planner, throughput: float
) -> float:
    """The largest factor of every model's weight or demand found that the cluster serves as a demand.

    A plan of weights uses an estimate of its rate. The estimate may be higher than the rate of whole workers. Here
    batches gather only as fast as requests are served. ``served(factor)`` is the best throughput with batches that
    gather at ``factor``. It rises with the factor. If it reaches the factor, that factor can be demanded. The search
    starts from ``throughput``, the objective of a plan of ``scenario``. It raises the factor while more is served
    than requested, and otherwise lowers it (:func:`penstock.plan.planners.unmet_demand.largest_part`).
    """

    def served(factor: float) -> float:
        asked = aimed_at(scenario.with_demand(factor), "throughput")
        return factor * planner.plan(asked, profiles).objective

    factor, reached = throughput, served(throughput)
    if reached < factor:
        asked = scenario.with_demand(factor)
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

    A factor that the cluster cannot serve has no point. It may be lower than a factor that can be served, because
    batches gather slower at lower rates. Raises :class:`BadInputError` if a class with devices has no
    ``hourly_cost``.
    """
    classes = scenario.cluster.device_classes.items()
    unpriced = [name for name, spec in classes if spec.count and spec.hourly_cost is None]
    if unpriced:
        raise BadInputError(f"a cost curve needs prices: give hourly_cost to {', '.join(unpriced)}.")
    for factor in factors:
        asked = aimed_at(scenario.with_demand(factor), "cost")
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


def worth_of_devices(
    scenario: Scenario, profiles: Mapping[str, Profile], planner: Planner, base: Result[Plan]
) -> Iterator[DeviceWorth]:
    """The value of one more device of each class that all ``profiles`` know. ``base`` is the present plan.

    The value is more throughput or less cost. A class without devices but with latencies is tried too.
    """
    duals = _duals(PlanningQuestion(scenario, profiles))
    improves = -1.0 if scenario.planner.pays_for_devices else 1.0
    for name, spec in scenario.cluster.device_classes.items():
        if not all(profile.shares_of(name) for profile in profiles.values()):
            continue
        if (improves < 0 and scenario.device_price(name) is None) or spec.count == MOST_DEVICES:
            continue
        more = planner.plan(scenario.with_device_counts({name: spec.count + 1}), profiles)
        # The plan without the device is also a plan with it. So a value below 0 comes only from the gap.
        yield DeviceWorth(
            device_class=name,
            count=spec.available,
            objective=more.objective,
            worth=max(0.0, improves * (more.objective - base.objective)),
            least=max(0.0, improves * (more.objective - base.bound)),
            most=max(0.0, improves * (more.bound - base.objective)),
            dual=duals[name] if spec.count else None,
        )


def _duals(question: PlanningQuestion) -> dict[str, float]:
    """The value of a small additional part of a device in the relaxation over pipelines (unit: the objective's)."""
    fleet = question.fleet
    prices = relax_spaces(template_spaces(question, budgets(question)), fleet).prices
    worth = np.maximum(prices.device - fleet.device_cost, 0.0).tolist()
    return dict(zip(question.scenario.cluster.device_classes, worth, strict=True))
