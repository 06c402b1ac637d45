"""A bound that knows whole workers, without listing what a plan may be: below the relaxation's if fleets are small.

At prices ``p`` of a device, let ``c[m](R)`` be the least price of whole workers that serve rate ``R`` of model ``m``,
over all templates (:mod:`penstock.plan.large.cheapest_covers`). The workers of a plan take no more devices than there
are. So for any prices,

    throughput: no plan reaches z if the sum of c[m](weight[m] * z) is more than the sum of p * count,
    cost:       every plan costs at least the sum of c[m](demand[m]) less the sum of (p - cost) * count.

This is the Lagrangian bound with one block for each model, whose block is solved over whole numbers (Geoffrion,
"Lagrangean relaxation for integer programming", Mathematical Programming Study 2, 1974: it is as good as the relaxation
only if blocks have no integrality to lose, and here they have).

For throughput the best prices are looked for: the cheapest covers at some prices are columns of the program

    minimise load  subject to  sum of devices[k, c] <= load * count[c],  one column k of every model,

whose duals are the next prices (Dantzig-Wolfe, as :mod:`penstock.plan.large.column_generation`). The program has few
columns, so its duals jump. Prices go only a part of the way from the best ones to them (Wentges, "Weighted
Dantzig-Wolfe decomposition for linear mixed-integer programming", International Transactions in Operational Research
4(2), 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64
from penstock.clock import solving_seconds
from penstock.plan.highs import Rows, run
from penstock.plan.large.cheapest_covers import CoverFinder, Covers
from penstock.plan.large.in_threads import in_threads
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.space import TemplateSpace

MOST_LISTED, MOST_OF_MODEL = 4_000_000, 500_000
"""Templates that are listed, of all models and of one. A million takes about 140 MB."""

ROUNDS = 25
"""The most rounds of new prices. Ten are enough for a ten-thousandth on published sizes."""

STEP, SHORTER, SHORTEST = 0.2, 0.6, 0.01
"""The next prices are so far on the way from the best ones to the duals; nearer if the last ones were worse."""

CLOSED = 1e-4
"""Loads that differ by less than this end the rounds: rates are counted in cells of a quarter of it."""

HALVINGS = 20
"""Steps of the search for the throughput that the bound excludes: to a millionth of the interval."""


@dataclass(frozen=True)
class WholeBound:
    """``bound``: no plan has a larger value. ``device_price`` (classes,): the prices that gave it.

    ``finders``: one for each model, with templates. None if time was over, if some model has too many templates near
    the best, or if plans are not for throughput.
    """

    bound: float
    device_price: F64
    finders: tuple[CoverFinder, ...] = ()


def whole_worker_bound(
    spaces: Sequence[TemplateSpace], fleet: Fleet, prices: Prices, known: float, deadline: float
) -> WholeBound:
    """The bound of ``prices``, or a lower one that knows whole workers, of the value of every plan over ``spaces``.

    ``known``: the value of a plan; a bound below it is not looked for. After ``deadline`` (of
    :func:`penstock.clock.solving_seconds`) the best bound so far stays.
    """
    most_rps = fleet.weight * (prices.bound if fleet.hourly_cost is None else 1.0)
    most_listed = min(MOST_OF_MODEL, MOST_LISTED // len(spaces))

    def finder(m: int) -> CoverFinder | None:
        if solving_seconds() > deadline:
            return None
        return CoverFinder.of(spaces[m], prices, float(most_rps[m]), most_listed)

    made = in_threads(finder, range(len(spaces)))
    finders = tuple(one for one in made if one is not None)
    if len(finders) < len(made):
        return WholeBound(prices.bound, prices.device)

    def covers(device_price: F64) -> list[Covers]:
        return in_threads(lambda one: one.at(device_price), finders)

    if fleet.hourly_cost is not None:
        worth = float((prices.device - fleet.device_cost) @ fleet.count)
        cost = _price_of(covers(prices.device), fleet.weight)
        return WholeBound(min(prices.bound, worth - cost), prices.device)
    worth = float(prices.device @ fleet.count)
    bound, best, asked = prices.bound, prices.device, prices.device
    most_load, target, step = 0.0, 0.0, STEP
    columns: list[list[F64]] = [[] for _ in finders]
    for _ in range(ROUNDS):
        found = covers(asked)
        bound = min(bound, _excluded(found, fleet, worth, known, bound))
        if not all(len(one.templates) for one in finders):
            return WholeBound(bound, prices.device)
        target = target or bound
        load = _price_of(found, fleet.weight * target) / worth
        if load > most_load:
            most_load, best = load, asked
        else:
            step = max(step * SHORTER, SHORTEST)
        for own, one, finder_, weight in zip(columns, found, finders, fleet.weight.tolist(), strict=True):
            own.append(finder_.devices(one.cheapest(weight * target), len(fleet.count)))
        least_load, dual = _least_load(columns, fleet)
        if least_load - most_load <= CLOSED or solving_seconds() > deadline:
            break
        asked = (1.0 - step) * best + step * dual * worth / float(dual @ fleet.count)
    return WholeBound(bound, best, finders)


def _price_of(covers: Sequence[Covers], rate_rps: F64) -> float:
    return sum(one.price_of(rate) for one, rate in zip(covers, rate_rps.tolist(), strict=True))


def _excluded(covers: Sequence[Covers], fleet: Fleet, worth: float, low: float, high: float) -> float:
    """The least throughput between ``low`` and ``high`` that no devices worth ``worth`` serve, else ``high``."""
    low = max(low, 0.0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if _price_of(covers, fleet.weight * middle) > worth * (1 + 1e-9):
            high = middle
        else:
            low = middle
    return high


def _least_load(columns: Sequence[Sequence[F64]], fleet: Fleet) -> tuple[float, F64]:
    """The least load of split columns, and the price of a device (classes,)."""
    rows = Rows()
    load = rows.column(cost=-1.0)
    needs: list[list[tuple[int, float]]] = [[(load, -float(count))] for count in fleet.count]
    for own in columns:
        chosen = [rows.column() for _ in own]
        rows.row([(column, 1.0) for column in chosen], lower=1.0, upper=1.0)
        for column, devices in zip(chosen, own, strict=True):
            for c in np.flatnonzero(devices).tolist():
                needs[c].append((column, float(devices[c])))
    for need in needs:
        rows.row(need, upper=0.0)
    solver = run(rows)
    return float(solver.values[load]), np.abs(solver.row_dual[len(columns) :])
