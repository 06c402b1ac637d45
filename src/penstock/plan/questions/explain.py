"""Explanations: show what limits a plan, and why each idle device is idle.

All values come from the linear relaxation, which is solved again with each change. It divides devices into parts. So
it says what a larger fleet gains in the long run, not what remains after rounding to whole devices
(:mod:`penstock.plan.questions.capacity` plans again for that).

- A class limits the plan if one more device of it improves the relaxation.
- An SLO limits the plan if some slower pipeline would improve the relaxation. Bisection finds the nearest SLO that
  allows one. It can be used because a longer SLO never makes the relaxation worse.
- A class stays idle if the fastest pipeline through it misses the SLO, or if the other devices that it needs
  have a higher value elsewhere. The prices of the relaxation say by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.documents.plan import Plan, devices_of
from penstock.plan.exact.latency_budget import ModelBudget, budgets
from penstock.plan.exact.worker_program import relax
from penstock.plan.no_pipeline import described, nearest_slo_us
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.questions.full_interfaces import HeldDown, held_down
from penstock.plan.questions.slo_budget import PoolLimit, SharedPool, Slack, pool_limits, shared_pools, slack
from penstock.plan.templates.dominance import fractional_undominated
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import LatencyBudget, Templates, join
from penstock.profile.table import Profile
from penstock.units import NEVER_US

MOST_SLO_FACTOR = 2.0
"""Pipelines that are slower than this factor times (SLO less margin) are not examined for the value of an SLO."""

NOTICEABLE = 1e-4
"""If the improvement is below this part of the relaxation, the class or SLO does not limit the plan."""


@dataclass(frozen=True)
class ClassWorth:
    """A device class: how many are in service, how many hold a worker, and the value of one more.

    ``worth`` is in units of the objective: more throughput or less cost.
    """

    device_class: str
    available: int
    used: int
    worth: float
    binds: bool


@dataclass(frozen=True)
class SloWorth:
    """The nearest longer SLO that allows a better pipeline, and its value. None if there is none.

    ``worth`` is in units of the objective.
    """

    model: str
    slo_us: int
    better_slo_us: int | None = None
    worth: float = 0.0
    pipeline: str = ""


@dataclass(frozen=True)
class WhyNot:
    """Why a class with idle devices does not serve more of a model.

    The ``fastest`` pipeline through the class takes ``latency_us`` of ``limit_us``, the SLO less its margin. It
    misses by ``misses_by_us``, 0 if it fits. ``extra_cost``: by which part the best feasible pipeline through the
    class costs more than the model's best one, at the prices of the relaxation. None if no pipeline fits, or if
    the model does not limit the objective. ``scarce``: the classes of that pipeline that have a value above
    their cost, and no idle device. ``fits_at_margin``: the largest margin, as a part of the SLO, at which a pipeline of
    idle devices alone would fit; None if one fits now, or if none fits without any margin.
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
    fits_at_margin: float | None = None


@dataclass(frozen=True)
class Explanation:
    """What limits a plan, and why devices are idle. ``relaxation`` is the objective if devices can be split.

    All values are for the space of the planner ``penstock``, even if another ``planner`` made the plan.
    """

    planner: str
    relaxation: float
    slack: list[Slack]
    pools: list[PoolLimit]
    held_down: list[HeldDown]
    shared_pools: list[SharedPool]
    classes: list[ClassWorth]
    slos: list[SloWorth]
    why_not: list[WhyNot]


def explain(plan: Plan, profiles: Mapping[str, Profile]) -> Explanation:
    """What limits ``plan``. ``profiles`` by model name.

    Every template of every model is listed, even very slow ones. So the time grows with the plan space.
    """
    space = _Space.of(plan, profiles)
    prices = space.relaxed(space.feasible)
    return Explanation(
        planner=plan.planner,
        relaxation=abs(prices.bound),
        slack=list(slack(plan)),
        pools=list(pool_limits(plan)),
        held_down=list(held_down(plan, profiles)),
        shared_pools=list(shared_pools(plan)),
        classes=list(_classes(plan, space, prices)),
        slos=[_slo(plan, space, prices, m) for m in range(len(space.budgets))],
        why_not=list(_why_not(plan, space, prices)),
    )


@dataclass(frozen=True)
class _Space:
    """``every`` template with a finite latency, its latency limit, and whether it is ``feasible``: (templates,)."""

    every: Templates
    limit_us: F64
    feasible: I64
    budgets: list[ModelBudget]
    fleet: Fleet

    @classmethod
    def of(cls, plan: Plan, profiles: Mapping[str, Profile]) -> _Space:
        question = PlanningQuestion(plan.scenario, profiles)
        budget = budgets(question)
        every = join(
            [
                question.templates(
                    m,
                    LatencyBudget(float(NEVER_US), own.build_us),
                    promised=question.space(m, own.latency).excess_us is not None,
                )
                for m, own in enumerate(budget)
            ]
        )
        limit_us = np.array([own.latency.limit_us for own in budget])[every.model]
        feasible = np.flatnonzero(every.latency_us <= limit_us)
        return cls(every, limit_us, feasible, budget, question.fleet)

    def relaxed(self, rows: I64, fleet: Fleet | None = None) -> Prices:
        """The relaxation over the templates in ``rows``, on the plan's fleet or another."""
        part = self.every.take(rows)
        return relax(part.take(fractional_undominated(part)), fleet or self.fleet)

    def cost(self, prices: Prices) -> F64:
        """The cost of the devices for one request per second, at ``prices``: (templates,)."""
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
        yield ClassWorth(name, spec.available, used[name], max(0.0, worth), binds)


def _slo(plan: Plan, space: _Space, prices: Prices, m: int) -> SloWorth:
    """The nearest longer SLO of model ``m`` that improves the relaxation."""
    model = plan.scenario.models[m]
    slower = (space.every.latency_us > space.limit_us) & (
        space.every.latency_us <= MOST_SLO_FACTOR * space.limit_us
    )
    # A pipeline can improve the relaxation only if it costs less than the price of the model's rate.
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
                scarce = _scarce(plan, space, best, prices)
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
                fits_at_margin=_margin_of_idle(plan, space, rows, m),
            )


def _margin_of_idle(plan: Plan, space: _Space, rows: I64, m: int) -> float | None:
    """The largest margin, as a part of the SLO, at which one of ``rows`` of idle devices alone fits model ``m``."""
    used = devices_of(plan)
    classes = plan.scenario.cluster.device_classes
    has_idle = np.array([spec.available > used[name] for name, spec in classes.items()])
    place = space.every.device_class[rows]
    alone = rows[(has_idle[place] | (place < 0)).all(axis=1)]
    if not len(alone):
        return None
    over_us = float((space.every.latency_us[alone] - space.limit_us[alone]).min())
    model = plan.models[m]
    return (model.margin_us - over_us) / model.slo_us if 0 < over_us <= model.margin_us else None


def _scarce(plan: Plan, space: _Space, row: int, prices: Prices) -> list[str]:
    """The classes of a template that have a value above their cost and are all in use."""
    names, used = list(plan.scenario.cluster.device_classes), devices_of(plan)
    classes = sorted(set(space.every.device_class[row, : space.every.stages[row]].tolist()))
    worth = prices.device - space.fleet.device_cost
    return [
        names[c]
        for c in classes
        if worth[c] > 0 and used[names[c]] == plan.scenario.cluster.device_classes[names[c]].available
    ]
