"""Explanations: what binds a plan, and why it is not otherwise.

All worths come from the linear relaxation, solved again with the change: it shares out parts of devices, so it
says what a larger fleet gains in the long run, not what rounding to whole devices makes of it
(:mod:`penstock.plan.capacity` plans again for that).

- A class binds if one more device of it improves the relaxation.
- An SLO binds if some slower pipeline would improve it: the nearest SLO that admits one is found by bisection,
  as a longer SLO never makes the relaxation worse.
- A class stays idle because the fastest pipeline through it misses the SLO, or because the devices it needs
  beside it are worth more elsewhere: the prices of the relaxation say by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from penstock.plan.budget import ModelBudget, budgets, fleet_of
from penstock.plan.capacity import devices_of
from penstock.plan.dominance import fractional_undominated
from penstock.plan.infeasible import described, nearest_slo_us
from penstock.plan.plan import Plan
from penstock.plan.program import Fleet, Prices, relax
from penstock.plan.slack import PoolLimit, SharedPool, Slack, pool_limits, shared_pools, slack
from penstock.plan.templates import F64, I64, LatencyBudget, Templates, enumerate_templates, join
from penstock.profile.table import Profile
from penstock.units import NEVER_US

MOST_SLO_FACTOR = 2.0
"""Pipelines slower than so many times the SLO less its margin are not looked at for its worth."""

NOTICEABLE = 1e-4
"""Improvement, as a part of the relaxation, below which something does not bind."""


@dataclass(frozen=True)
class ClassWorth:
    """A device class: how many are in service and hold a worker, and what one more is worth.

    ``worth`` is in units of the objective, more throughput or less cost.
    """

    device_class: str
    available: int
    used: int
    worth: float
    binds: bool


@dataclass(frozen=True)
class SloWorth:
    """The nearest longer SLO that admits a better pipeline, and what that is worth; None where there is none.

    ``worth`` is in units of the objective.
    """

    model: str
    slo_us: int
    better_slo_us: int | None = None
    worth: float = 0.0
    pipeline: str = ""


@dataclass(frozen=True)
class WhyNot:
    """Why a class with idle devices does not serve a model more.

    ``fastest`` through the class takes ``latency_us`` of ``limit_us``, the SLO less its margin; it misses by
    ``misses_by_us``, 0 where it fits. ``extra_cost``: how much dearer the best feasible pipeline through the
    class is than the model's best, at the prices of the relaxation, as a part; None where none fits, or where
    the model does not hold the objective back. ``scarce``: the classes of that pipeline that have a price.
    """

    device_class: str
    idle: int
    model: str
    fastest: str
    latency_us: float
    limit_us: float
    misses_by_us: float
    extra_cost: float | None
    scarce: list[str]


@dataclass(frozen=True)
class Explanation:
    """What binds a plan and why not otherwise; ``relaxation`` is the objective that parts of devices reach."""

    relaxation: float
    slack: list[Slack]
    pools: list[PoolLimit]
    shared_pools: list[SharedPool]
    classes: list[ClassWorth]
    slos: list[SloWorth]
    why_not: list[WhyNot]


def explain(plan: Plan, profiles: Mapping[str, Profile]) -> Explanation:
    """What binds ``plan``; ``profiles`` by model name.

    Every template of every model is enumerated, however slow: the time grows with the plan space.
    """
    space = _Space.of(plan, profiles)
    prices = space.relaxed(space.feasible)
    return Explanation(
        relaxation=abs(prices.bound),
        slack=list(slack(plan)),
        pools=list(pool_limits(plan)),
        shared_pools=list(shared_pools(plan)),
        classes=list(_classes(plan, space, prices)),
        slos=[_slo(plan, space, prices, m) for m in range(len(space.budgets))],
        why_not=list(_why_not(plan, space, prices)),
    )


@dataclass(frozen=True)
class _Space:
    """``every`` template with a finite latency, its latency limit, and which are ``feasible``: (templates,)."""

    every: Templates
    limit_us: F64
    feasible: I64
    budgets: list[ModelBudget]
    fleet: Fleet

    @classmethod
    def of(cls, plan: Plan, profiles: Mapping[str, Profile]) -> _Space:
        scenario = plan.scenario
        budget = budgets(scenario, profiles)
        every = join(
            [
                enumerate_templates(
                    profiles[model.name],
                    scenario.cluster,
                    LatencyBudget(float(NEVER_US), own.build_us),
                    max_stages=scenario.planner.max_stages,
                    model=m,
                )
                for m, (model, own) in enumerate(zip(scenario.models, budget, strict=True))
            ]
        )
        limit_us = np.array([own.latency.limit_us for own in budget])[every.model]
        feasible = np.flatnonzero(every.latency_us <= limit_us)
        return cls(every, limit_us, feasible, budget, fleet_of(scenario))

    def relaxed(self, rows: I64, fleet: Fleet | None = None) -> Prices:
        """The relaxation over the templates in ``rows``, on the plan's fleet or another."""
        part = self.every.take(rows)
        return relax(part.take(fractional_undominated(part)), fleet or self.fleet)

    def cost(self, prices: Prices) -> F64:
        """What one request per second takes of the devices, at ``prices``: (templates,)."""
        used = self.every.device_class >= 0
        price = np.where(used, prices.device[self.every.device_class], 0.0)
        cost: F64 = (price / self.every.device_rps).sum(axis=1)
        return cost


def _classes(plan: Plan, space: _Space, prices: Prices) -> Iterator[ClassWorth]:
    used = devices_of(plan)
    for c, (name, spec) in enumerate(plan.scenario.cluster.device_classes.items()):
        count = space.fleet.count.copy()
        count[c] += 1
        worth = space.relaxed(space.feasible, replace(space.fleet, count=count)).bound - prices.bound
        binds = worth > NOTICEABLE * abs(prices.bound)
        yield ClassWorth(name, spec.available, used[name], max(worth, 0.0), binds)


def _slo(plan: Plan, space: _Space, prices: Prices, m: int) -> SloWorth:
    """The nearest longer SLO of model ``m`` that improves the relaxation."""
    model = plan.scenario.models[m]
    slower = (space.every.latency_us > space.limit_us) & (
        space.every.latency_us <= MOST_SLO_FACTOR * space.limit_us
    )
    # Only what is cheaper than the model's rate is worth can improve the relaxation.
    is_cheap = space.cost(prices) < prices.rate[m] * (1 - 1e-9)
    rows = np.flatnonzero((space.every.model == m) & slower & is_cheap)
    rows = rows[np.argsort(space.every.latency_us[rows], kind="stable")]

    def gain(number: int) -> float:
        return space.relaxed(np.union1d(space.feasible, rows[:number])).bound - prices.bound

    least = NOTICEABLE * abs(prices.bound)
    if not len(rows) or gain(len(rows)) <= least:
        return SloWorth(model.name, model.latency_slo_us)
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if gain(middle) > least else (middle, high)
    row = int(rows[high - 1])
    return SloWorth(
        model=model.name,
        slo_us=model.latency_slo_us,
        better_slo_us=nearest_slo_us(model, float(space.every.latency_us[row])),
        worth=gain(high),
        pipeline=described(space.every, row, plan.scenario),
    )


def _why_not(plan: Plan, space: _Space, prices: Prices) -> Iterator[WhyNot]:
    used = devices_of(plan)
    cost = space.cost(prices)
    for c, (name, spec) in enumerate(plan.scenario.cluster.device_classes.items()):
        idle = spec.available - used[name]
        through = (space.every.device_class == c).any(axis=1)
        for m, model in enumerate(plan.scenario.models):
            rows = np.flatnonzero(through & (space.every.model == m))
            if not idle or not len(rows):
                continue
            row = int(rows[space.every.latency_us[rows].argmin()])
            latency_us, limit_us = float(space.every.latency_us[row]), float(space.limit_us[row])
            able = rows[space.every.latency_us[rows] <= limit_us]
            extra, scarce = None, []
            if len(able) and prices.rate[m] > 0:
                best = int(able[cost[able].argmin()])
                extra = max(float(cost[best] / prices.rate[m]) - 1.0, 0.0)
                scarce = _scarce(plan, space.every, best, prices)
            yield WhyNot(
                device_class=name,
                idle=idle,
                model=model.name,
                fastest=described(space.every, row, plan.scenario),
                latency_us=latency_us,
                limit_us=limit_us,
                misses_by_us=max(latency_us - limit_us, 0.0),
                extra_cost=extra,
                scarce=scarce,
            )


def _scarce(plan: Plan, templates: Templates, row: int, prices: Prices) -> list[str]:
    """The classes of a template that have a price."""
    names = list(plan.scenario.cluster.device_classes)
    classes = sorted(set(templates.device_class[row, : templates.stages[row]].tolist()))
    return [names[c] for c in classes if prices.device[c] > 0]
