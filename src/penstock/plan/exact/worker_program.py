"""The integer program over templates, and its linear relaxation, solved by HiGHS.

Template ``t`` gets ``n[t, s]`` whole workers at stage ``s`` and serves ``r[t] <= n[t, s] * worker rate``. A
group is the set of workers that may share devices. If the fleet shares devices, these are all workers of a device
class. Otherwise these are the workers of one (model, stage position, device class). ``D[g]`` is its whole devices:

    throughput:  maximise z              subject to  sum of r[t] over model m >= weight[m] * z
    cost:        minimise cost . D       subject to  sum of r[t] over model m >= weight[m]
    both:        sum of n[t, s] / share over group g <= D[g],  sum of D[g] over class c <= count[c],
                 n, D integer,  r, z >= 0.

This is the plan space of Kong et al., "PPipe" (USENIX ATC 2025, planning), with templates instead of their
products of binaries. Their objective is throughput, without shared devices. If the sum of shares does not decide
what fits on a device, whole numbers of patterns replace the sum (:mod:`penstock.plan.exact.packing`). Values are
maximised: the objective ``z``, or the negated cost. Rates and values are scaled, so that the
solver's absolute tolerances (1e-6) are small compared with the requested gap. A stage that splits batches has a worker
for each piece, if its template is used at all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.plan.exact.counted_rates import CountedRates
from penstock.plan.exact.infeasibility import solve_demands
from penstock.plan.exact.packing import packs_by_sum, patterns
from penstock.plan.highs import Effort, Rows
from penstock.plan.templates.fleet import Fleet, Prices, device_owner
from penstock.plan.templates.table import Templates

SCALED_DEMAND = 100.0
"""Demands are scaled to this, so that the solver's tolerance is 1e-8 of each demand."""


FINEST_COST = 1000
"""Costs are tried as whole multiples of units down to a thousandth of the currency."""


@dataclass(frozen=True)
class Answer:
    """Workers (templates, stages) of the best plan found, and a proven limit on the value of every plan."""

    workers: I64
    bound: float
    seconds: float
    nodes: int


@dataclass(frozen=True)
class Units:
    """What 1 means in the program: for a rate (models,), and for the value."""

    rate_rps: F64
    value: float


Uses = Mapping[tuple[int, ...], Sequence[tuple[int, int, int]]]
"""By group (device class first): the columns that use its devices, the share, and how many workers on it."""


def relax(templates: Templates, fleet: Fleet) -> Prices:
    """The linear relaxation over ``templates``: workers and devices may be split.

    The solver gives the prices. The bound is computed from them, so it does not depend on the solver's tolerances.
    """
    units = units_of(templates, fleet)
    rows, demands, need = relaxation(templates, fleet, units)
    solved = solve_demands(rows, demands)
    solver = solved.solver
    models = len(fleet.weight)
    if solved.bound == -math.inf:
        return Prices(-math.inf, np.zeros(len(fleet.count)), np.zeros(models))
    dual = np.abs(solver.row_dual) * units.value
    if solver.claims_infeasible_or_unbounded:
        # Not so, or not proven. Any prices give a valid bound: the devices' own costs, or 1 if they have none.
        dual = np.full(models + len(fleet.count), 1.0 if fleet.hourly_cost is None else 0.0)
    device_price = fleet.device_cost + dual[models:]
    cheapest = np.full(models, np.inf)
    np.minimum.at(cheapest, templates.model, need @ device_price / units.rate_rps[templates.model])
    found = bound_at(device_price, fleet, cheapest)
    if math.isfinite(found.bound):
        return found
    return Prices(solved.bound * units.value, device_price, dual[:models] / units.rate_rps)


def relaxation(
    templates: Templates, fleet: Fleet, units: Units, counted: CountedRates | None = None
) -> tuple[Rows, range, F64]:
    """The rows of the linear relaxation, those of the demands, and the devices of each class that a unit of each rate
    takes: (templates, classes). The first columns are the templates' rates. The last rows are the classes."""
    scaled = templates.device_rps / units.rate_rps[templates.model][:, None]
    # A template may use a class at several stages. A row must contain a column only once.
    need = np.stack(
        [
            np.where(templates.device_class == device_class, 1.0 / scaled, 0.0).sum(axis=1)
            for device_class in range(len(fleet.count))
        ],
        axis=1,
    )
    rows = Rows()
    rate = [rows.column(cost=-cost) for cost in (need @ fleet.device_cost / units.value).tolist()]
    demands = meet_counted_demand(rows, fleet, templates, units, rate, counted)
    for device_class, count in enumerate(fleet.count):
        used = np.flatnonzero(need[:, device_class])
        rows.row([(rate[t], need[t, device_class]) for t in used], upper=float(count))
    return rows, demands, need


def bound_at(device_price: F64, fleet: Fleet, cheapest: F64) -> Prices:
    """The Lagrangian bound at ``device_price`` (classes,), which must be at least the devices' own costs.

    ``cheapest`` (models,): the least that one request per second can cost at these prices, over all templates. For
    throughput, the returned prices are scaled to the bound. The bound is valid at any prices. It is infinite if they
    are 0.
    """
    spent = float(fleet.weight @ cheapest)
    worth = float((device_price - fleet.device_cost) @ fleet.count)
    if fleet.hourly_cost is not None:
        return Prices(worth - spent, device_price, cheapest)
    if spent <= 0.0:
        return Prices(math.inf, device_price, cheapest)
    return Prices(worth / spent, device_price / spent, cheapest / spent)


def solve(
    templates: Templates,
    fleet: Fleet,
    effort: Effort,
    *,
    start: I64 | None = None,
    counted: CountedRates | None = None,
) -> Answer:
    """The integer program over ``templates``.

    ``start`` (templates, stages) is a plan to improve on. ``counted``: what counts of each rate, if not all of it. If
    the answer has no workers, no plan was found. If its bound is minus infinity too, it is proven that there is none.
    """
    began = solving_seconds()
    units = units_of(templates, fleet)
    rows, demands, worker_column = _integer_program(templates, fleet, units, counted)
    used = worker_column >= 0
    guess = None if start is None else (worker_column[used], start[used])
    solved = solve_demands(rows, demands, effort, guess)
    workers = np.where(used, np.rint(solved.values[worker_column]), 0).astype(np.int64)
    return Answer(workers, solved.bound * units.value, solving_seconds() - began, solved.nodes)


def units_of(templates: Templates, fleet: Fleet) -> Units:
    """Units: demands become :data:`SCALED_DEMAND` and costs become whole if possible; throughput is near 1."""
    if fleet.hourly_cost is not None:
        return Units(fleet.weight / SCALED_DEMAND, _cost_unit(fleet.hourly_cost))
    best = np.zeros(len(fleet.weight))
    np.maximum.at(best, templates.model, templates.device_rps.min(axis=1))
    value = float((best * fleet.count.sum() / fleet.weight).min() / len(best))
    return Units(fleet.weight * value, value)


def most_needed(fleet: Fleet) -> float:
    """The most of one model's rate that is useful, in units of its rate.

    One worker may serve far more than a small weight or demand. If no more of its rate is counted, the plans stay the
    same and the coefficients stay small. With large coefficients, a tiny fraction of a worker would be enough for the
    solver, and it rounds to none.
    """
    # In units of throughput, no plan has more units than there are models.
    return SCALED_DEMAND if fleet.hourly_cost is not None else float(len(fleet.weight))


def _cost_unit(hourly_cost: F64) -> float:
    """A unit of which all costs are whole multiples, so the solver rounds its bound up to one. Else the largest."""
    exact = [Fraction(cost).limit_denominator(FINEST_COST) for cost in hourly_cost.tolist()]
    if not np.allclose([float(cost) for cost in exact], hourly_cost, rtol=1e-12, atol=0.0):
        return float(hourly_cost.max())
    denominator = math.lcm(*(cost.denominator for cost in exact))
    unit = math.gcd(*(int(cost * denominator) for cost in exact))
    return unit / denominator or 1.0


def meet_demand(rows: Rows, fleet: Fleet, columns: Sequence[I64], rate: Sequence[F64] | None = None) -> range:
    """Every model's ``columns`` together serve its demand, or its weight times the objective.

    ``rate``: the rate that one unit of each column serves, in the program's units. If absent: 1. Returns the rows that
    demands may make infeasible: those of the models, or none for throughput.
    """
    first = len(rows.entries)
    objective = rows.column(cost=1.0) if fleet.hourly_cost is None else None
    for m, own in enumerate(columns):
        served = np.ones(len(own)) if rate is None else rate[m]
        entries = list(zip(own.tolist(), served.tolist(), strict=True))
        if objective is None:
            rows.row(entries, lower=SCALED_DEMAND)
        else:
            rows.row([(objective, -1.0), *entries], lower=0.0)
    return range(first, len(rows.entries)) if objective is None else range(0)


def group_key(templates: Templates, t: int, s: int, fleet: Fleet) -> tuple[int, ...]:
    """The group of a stage's workers, device class first. Workers of one group may share devices."""
    device_class = int(templates.device_class[t, s])
    return (device_class, *device_owner(int(templates.model[t]), s, fleet.share_devices))


def share_out_devices(rows: Rows, fleet: Fleet, units: Units, uses: Uses) -> None:
    """Give every group of ``uses`` whole devices, within the count of its class, at their cost."""
    of_class: list[list[tuple[int, float]]] = [[] for _ in fleet.count]
    for (device_class, *_), members in uses.items():
        shares = tuple(sorted({share for _, share, _ in members}))
        cost = -float(fleet.device_cost[device_class]) / units.value
        fills = ((),) if packs_by_sum(shares) else patterns(shares)
        devices = [
            rows.column(cost=cost, upper=float(fleet.count[device_class]), integer=True) for _ in fills
        ]
        of_class[device_class] += [(column, 1.0) for column in devices]
        if len(devices) == 1:
            _hold_sum(rows, devices[0], members)
        else:
            _hold_patterns(rows, devices, fills, shares, members)
    for count, devices_of_class in zip(fleet.count, of_class, strict=True):
        rows.row(devices_of_class, upper=float(count))


def _hold_sum(rows: Rows, devices: int, members: Sequence[tuple[int, int, int]]) -> None:
    """The parts of all workers sum to at most the number of ``devices``."""
    part: dict[int, Fraction] = defaultdict(Fraction)
    for column, share, workers in members:
        part[column] += Fraction(workers, share)
    # The row is multiplied by the least common denominator, so that every coefficient is whole.
    unit = math.lcm(*(share for _, share, _ in members))
    rows.row([(devices, -float(unit)), *((column, float(p * unit)) for column, p in part.items())], upper=0.0)


def _hold_patterns(
    rows: Rows,
    devices: Sequence[int],
    fills: Sequence[tuple[int, ...]],
    shares: Sequence[int],
    members: Sequence[tuple[int, int, int]],
) -> None:
    """On each share there are at most as many workers as the patterns of all devices hold."""
    for k, share in enumerate(shares):
        on_share: dict[int, float] = defaultdict(float)
        for column, other, workers in members:
            if other == share:
                on_share[column] += workers
        held = [(device, -float(fill[k])) for device, fill in zip(devices, fills, strict=True) if fill[k]]
        rows.row([*held, *on_share.items()], upper=0.0)


def meet_counted_demand(
    rows: Rows,
    fleet: Fleet,
    templates: Templates,
    units: Units,
    rate: Sequence[int],
    counted: CountedRates | None,
) -> range:
    """:func:`meet_demand` over the columns ``rate`` of all templates, with what is ``counted`` of them."""
    if counted is None:
        return meet_demand(
            rows, fleet, [np.flatnonzero(templates.model == m) for m in range(len(fleet.weight))]
        )
    served = counted.served(templates.model)
    demands = meet_demand(rows, fleet, [own for own, _ in served], [part for _, part in served])
    counted.hold_interfaces(rows, rate, units.rate_rps[templates.model])
    return demands


def _integer_program(
    templates: Templates, fleet: Fleet, units: Units, counted: CountedRates | None
) -> tuple[Rows, range, I64]:
    """The program's rows, those of the demands, and the column of every worker count (-1 if there is no such stage)."""
    rows = Rows()
    rate = [rows.column() for _ in range(len(templates))]
    demands = meet_counted_demand(rows, fleet, templates, units, rate, counted)
    worker_column = np.full(templates.share.shape, -1, dtype=np.int64)
    uses: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    is_used: dict[int, int] = {}
    needed = most_needed(fleet) / (counted.least_part if counted else 1.0)
    for t, s in np.argwhere(templates.device_class >= 0).tolist():
        share = int(templates.share[t, s])
        most = float(fleet.count[templates.device_class[t, s]] * share)
        column = worker_column[t, s] = rows.column(upper=most, integer=True)
        scaled = min(templates.worker_rps[t, s] / units.rate_rps[templates.model[t]], needed)
        rows.row([(rate[t], 1.0), (column, -scaled)], upper=0.0)
        if (pieces := int(templates.pieces[t, s])) > 1:
            if t not in is_used:
                is_used[t] = rows.column(upper=1.0, integer=True)
            # The rate is 0 if the template is not used, and no more than all workers serve if it is.
            rows.row([(rate[t], 1.0), (is_used[t], -scaled * most)], upper=0.0)
            rows.row([(column, 1.0), (is_used[t], -float(pieces))], lower=0.0)
        uses[group_key(templates, t, s, fleet)].append((column, share, 1))
    share_out_devices(rows, fleet, units, uses)
    return rows, demands, worker_column
