"""Column generation: the linear relaxation over all templates, without listing them.

This is the loop of Dantzig and Wolfe with the Lagrangian bound (Lübbecke and Desrosiers, "Selected Topics in Column
Generation", Operations Research 53(6), 2005, sections 2 and 3). Solve the relaxation over the known columns. Price
all templates at its device prices. Add the cheapest ones. Repeat until no template is cheaper than the relaxation
assumes.

At any device prices ``p`` that are at least the devices' own costs, a plan serves each request of model ``m`` at a
cost of at least ``cheapest[m](p)``. So, for any set of columns,

    throughput <= sum(p * count) / sum(weight * cheapest(p)),
    cost       >= sum(weight * cheapest(p)) - sum((p - cost) * count).

So if the loop stops early, there is still a bound on every plan. The prices of the best bound are feasible duals of
the full relaxation. With one column per (model, batch) and round, the largest instances need about five rounds.
Damping of the prices between rounds made it only slower.

The work does not depend on the number of devices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.arrays import F64
from penstock.clock import solving_seconds
from penstock.plan.exact.worker_program import bound_at
from penstock.plan.large.in_threads import in_threads
from penstock.plan.large.restricted_master import Master, MasterAnswer
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.pricing import Priced, cost_of, price
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import Templates, join, no_templates
from penstock.result import relative_gap

REDUCED_COST = 1e-10
"""A column that is cheaper by less than this, relatively, counts as equal: the sums have rounding errors."""


@dataclass(frozen=True)
class Relaxation:
    """The relaxation over all templates of every space, or a bound on it.

    ``prices``: their bound covers every template. ``columns`` and ``rate_rps`` (columns,): a solution with split
    workers. Its value is ``value``. ``rounds``: how many rounds of pricing it took.
    """

    prices: Prices
    columns: Templates
    rate_rps: F64
    value: float
    rounds: int


def relax_spaces(
    spaces: Sequence[TemplateSpace], fleet: Fleet, *, gap: float = 1e-6, time_limit_s: float = np.inf
) -> Relaxation:
    """The relaxation over all templates of ``spaces``, one space per model, to a relative ``gap`` or the time limit.

    Every space must hold a feasible template (:func:`penstock.plan.templates.pricing.price` finds out). If it is
    proven that the demands cannot be met even with split workers, the bound is minus infinity.
    """
    deadline = solving_seconds() + time_limit_s

    def priced(device_price: F64, most_cost: F64) -> list[Priced]:
        return in_threads(lambda m: price(spaces[m], device_price, float(most_cost[m])), range(len(spaces)))

    no_limit = np.full(len(spaces), np.inf)
    known = no_templates()
    for device_price in _first_prices(fleet):
        # A column that is no cheaper than a known one would not be used.
        limit = no_limit if not len(known) else _cheapest(known, device_price, len(spaces))
        known = join([known, *(model.columns for model in priced(device_price, limit))])
    throughput = replace(fleet, hourly_cost=None)
    found = _generate(throughput, known, priced, gap, deadline)
    if fleet.hourly_cost is None:
        return found
    # Demands are weights here. If even the bound of their common part is below 1, no plan meets them.
    if found.prices.bound < 1.0:
        classes, models = len(fleet.count), len(fleet.weight)
        return replace(found, prices=Prices(-np.inf, np.zeros(classes), np.zeros(models)))
    if found.value < 1.0:
        # Time or the gap ended the loop before it was known whether they can be met. Then the devices' own costs
        # are prices that give a bound.
        cheapest = np.array([model.cost for model in priced(fleet.device_cost, no_limit)])
        return replace(found, prices=bound_at(fleet.device_cost, fleet, cheapest))
    return _generate(fleet, found.columns, priced, gap, deadline)


def _generate(
    fleet: Fleet,
    columns: Templates,
    priced: Callable[[F64, F64], list[Priced]],
    gap: float,
    deadline: float,
) -> Relaxation:
    """Run the loop, starting from ``columns`` that serve every model and meet every demand."""
    master = Master(fleet, columns)
    best: Prices | None = None
    for rounds in itertools.count(1):
        answer = master.solve()
        models = priced(answer.device_price, answer.request_price)
        cheapest = np.array([model.cost for model in models])
        found = bound_at(answer.device_price, fleet, cheapest)
        best = found if best is None or found.bound < best.bound else best
        new = _cheaper(models, answer)
        is_closed = not len(new) or relative_gap(answer.value, best.bound) <= gap
        if is_closed or solving_seconds() > deadline:
            return Relaxation(best, master.columns, answer.rate_rps, answer.value, rounds)
        master.add(new)
    raise AssertionError("unreachable: every round adds columns or returns")


def _first_prices(fleet: Fleet) -> list[F64]:
    """First all classes at one price, then each class at a tenth of it, so that some templates use it if they can."""
    classes = len(fleet.count)
    return [np.ones(classes), *(1.0 - 0.9 * np.eye(classes))]


def _cheapest(columns: Templates, device_price: F64, models: int) -> F64:
    """The least cost of a request on the ``columns`` of each model: (models,)."""
    least = np.full(models, np.inf)
    np.minimum.at(least, columns.model, cost_of(columns, device_price))
    return least


def _cheaper(priced: Sequence[Priced], answer: MasterAnswer) -> Templates:
    """The columns that cost less than the price that the relaxation pays for a request."""
    columns = join([model.columns for model in priced])
    paid = answer.request_price[columns.model]
    return columns.take(cost_of(columns, answer.device_price) < paid * (1.0 - REDUCED_COST))
