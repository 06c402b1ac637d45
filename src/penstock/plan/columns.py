"""The linear relaxation over all templates without listing them: column generation.

Dantzig-Wolfe's loop, with the bound of Lagrange (Lübbecke and Desrosiers, "Selected Topics in Column Generation",
Operations Research 53(6), 2005, sections 2 and 3): solve the relaxation over the columns known, price all templates at
its device prices, add the cheapest, until pricing finds none that is cheaper than the relaxation believes.

At any device prices ``p``, no less than the devices' own costs, a plan serves every request of model ``m`` at no less
than ``cheapest[m](p)``. So, whatever the columns,

    throughput <= sum(p * count) / sum(weight * cheapest(p)),
    cost       >= sum(weight * cheapest(p)) - sum((p - cost) * count):

stopping early still leaves a bound on every plan, and the prices of the best bound are feasible duals of the full
relaxation. One column a (model, batch) and round settles the largest instances in about five rounds; damping the
prices between rounds only slowed that.

Work does not depend on how many devices there are.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from penstock.plan.master import Master, MasterAnswer
from penstock.plan.pricing import Priced, cost_of, price
from penstock.plan.program import Fleet, Prices
from penstock.plan.template_space import TemplateSpace
from penstock.plan.templates import F64, Templates, join
from penstock.result import relative_gap

REDUCED_COST = 1e-10
"""Columns cheaper by less than this, relatively, are not: rounding of the sums."""

THREADS = 2


@dataclass(frozen=True)
class Relaxation:
    """The relaxation over all templates of every space, or a bound on it.

    ``prices``: its bound covers every template. ``columns`` and ``rate_rps`` (columns,): a solution with split workers,
    whose value is ``value``; ``rounds`` of pricing led to it.
    """

    prices: Prices
    columns: Templates
    rate_rps: F64
    value: float
    rounds: int


def relax_spaces(
    spaces: Sequence[TemplateSpace], fleet: Fleet, *, gap: float = 1e-6, time_limit_s: float = np.inf
) -> Relaxation:
    """The relaxation over all templates of ``spaces``, one a model, to a relative ``gap`` or the time limit.

    Every space must hold a feasible template (:func:`penstock.plan.pricing.price` tells). Where even split workers
    cannot meet the demands, the bound is minus infinity.
    """
    deadline = time.perf_counter() + time_limit_s
    with ThreadPoolExecutor(THREADS) as pool:

        def priced(device_price: F64, most_cost: F64) -> list[Priced]:
            return list(pool.map(price, spaces, itertools.repeat(device_price), most_cost.tolist()))

        no_limit = np.full(len(spaces), np.inf)
        first = [model for device_price in _first_prices(fleet) for model in priced(device_price, no_limit)]
        throughput = replace(fleet, hourly_cost=None)
        found = _generate(throughput, join([model.columns for model in first]), priced, gap, deadline)
        if fleet.hourly_cost is None:
            return found
        if found.value < 1.0:
            # Demands are weights here: what cannot be met even split has a throughput below 1.
            classes, models = len(fleet.count), len(fleet.weight)
            return replace(found, prices=Prices(-np.inf, np.zeros(classes), np.zeros(models)))
        return _generate(fleet, found.columns, priced, gap, deadline)


def _generate(
    fleet: Fleet,
    columns: Templates,
    priced: Callable[[F64, F64], list[Priced]],
    gap: float,
    deadline: float,
) -> Relaxation:
    """The loop, from ``columns`` that serve every model, and every demand."""
    master = Master(fleet, columns)
    best: Prices | None = None
    for rounds in itertools.count(1):
        answer = master.solve()
        models = priced(answer.device_price, answer.request_price)
        found = bound_at(answer.device_price, fleet, models)
        best = found if best is None or found.bound < best.bound else best
        new = _cheaper(models, answer)
        is_closed = not len(new) or relative_gap(answer.value, best.bound) <= gap
        if is_closed or time.perf_counter() > deadline:
            return Relaxation(best, master.columns, answer.rate_rps, answer.value, rounds)
        master.add(new)
    raise AssertionError("unreachable: every round adds columns or returns")


def bound_at(device_price: F64, fleet: Fleet, priced: Sequence[Priced]) -> Prices:
    """The bound at ``device_price`` (classes,), for throughput with those prices scaled to it."""
    cheapest = np.array([model.cost for model in priced])
    spent = float(fleet.weight @ cheapest)
    worth = float((device_price - fleet.device_cost) @ fleet.count)
    if fleet.hourly_cost is not None:
        return Prices(worth - spent, device_price, cheapest)
    if spent <= 0.0:
        return Prices(np.inf, device_price, cheapest)
    return Prices(worth / spent, device_price / spent, cheapest / spent)


def _first_prices(fleet: Fleet) -> list[F64]:
    """All classes at one price, and each in turn at a tenth of it: templates that use each where they can."""
    classes = len(fleet.count)
    return [np.ones(classes), *(1.0 - 0.9 * np.eye(classes))]


def _cheaper(priced: Sequence[Priced], answer: MasterAnswer) -> Templates:
    """The columns that undercut what the relaxation pays for a request."""
    columns = join([model.columns for model in priced])
    paid = answer.request_price[columns.model]
    return columns.take(cost_of(columns, answer.device_price) < paid * (1.0 - REDUCED_COST))
