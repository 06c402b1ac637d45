"""The integer program over templates, and its linear relaxation, solved by HiGHS.

Template ``t`` gets ``n[t, s]`` whole workers at stage ``s`` and serves ``r[t] <= n[t, s] * worker rate``. A
group is the workers that may share devices: all of a device class where the fleet shares devices, else those
of one (model, stage position, device class). ``D[g]`` is its whole devices:

    throughput:  maximise z              subject to  sum of r[t] over model m >= weight[m] * z
    cost:        minimise cost . D       subject to  sum of r[t] over model m >= weight[m]
    both:        sum of n[t, s] / share over group g <= D[g],  sum of D[g] over class c <= count[c],
                 n, D integer,  r, z >= 0.

This is the plan space of Kong et al., "PPipe" (USENIX ATC 2025, planning), with templates in place of their
products of binaries; theirs is the throughput without shared devices. Where the sum of shares does not decide
what fits on a device, whole numbers of patterns take its place (:mod:`penstock.plan.packing`). Values are of
something to maximise: the objective ``z``, or the cost negated. Rates and values are scaled, so that the
solver's absolute tolerances (1e-6) are small against the gap asked for.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from penstock.plan.highs import Effort, Rows, is_infeasible, run, values
from penstock.plan.packing import packs_by_sum, patterns
from penstock.plan.templates import F64, I64, Templates

SCALED_DEMAND = 100.0
"""Demands are scaled to this, so that the solver's tolerance is a hundredth of a millionth of each."""


FINEST_COST = 1000
"""Costs are tried as multiples of down to a thousandth of the currency."""


@dataclass(frozen=True)
class Fleet:
    """What the program shares out, and to what end.

    ``count`` devices of each class, ``weight`` of each model. With ``hourly_cost`` (classes,) the weights are
    demands in requests per second, to be met at the least cost.
    """

    count: I64
    weight: F64
    hourly_cost: F64 | None = None
    share_devices: bool = False

    @property
    def device_cost(self) -> F64:
        """What using one device costs the value: (classes,), 0 for throughput."""
        return np.zeros(len(self.count)) if self.hourly_cost is None else self.hourly_cost


@dataclass(frozen=True)
class Prices:
    """Optimum and duals of the linear relaxation: no plan's value passes ``bound``.

    In units of the value: ``device`` (classes,), the price of one device, its cost included; ``rate``
    (models,), the worth of one request per second. ``bound`` is minus infinity where even split workers
    cannot meet the demands.
    """

    bound: float
    device: F64
    rate: F64


@dataclass(frozen=True)
class Answer:
    """Workers (templates, stages) of the best plan found, and a proven limit on the value of any."""

    workers: I64
    bound: float
    seconds: float
    nodes: int


@dataclass(frozen=True)
class Units:
    """What 1 stands for in the program: of a rate (models,), and of the value."""

    rate_rps: F64
    value: float


Uses = Mapping[tuple[int, ...], Sequence[tuple[int, int, int]]]
"""By group (device class first): the columns that use its devices, the share, and how many workers on it."""


def relax(templates: Templates, fleet: Fleet) -> Prices:
    """The linear relaxation over ``templates``: workers and devices may be split."""
    units = units_of(templates, fleet)
    scaled = templates.device_rps / units.rate_rps[templates.model][:, None]
    # A template may use a class at several stages; a row must name a column once.
    need = np.stack(
        [
            np.where(templates.device_class == device_class, 1.0 / scaled, 0.0).sum(axis=1)
            for device_class in range(len(fleet.count))
        ],
        axis=1,
    )
    rows = Rows()
    rate = [rows.column(cost=-cost) for cost in (need @ fleet.device_cost / units.value).tolist()]
    meet_demand(rows, fleet, [np.flatnonzero(templates.model == m) for m in range(len(fleet.weight))])
    for device_class, count in enumerate(fleet.count):
        used = np.flatnonzero(need[:, device_class])
        rows.row([(rate[t], need[t, device_class]) for t in used], upper=float(count))
    highs = run(rows)
    models = len(fleet.weight)
    if is_infeasible(highs):
        return Prices(-math.inf, np.zeros(len(fleet.count)), np.zeros(models))
    dual = np.abs(np.array(highs.getSolution().row_dual)) * units.value
    return Prices(
        bound=highs.getInfo().objective_function_value * units.value,
        device=fleet.device_cost + dual[models:],
        rate=dual[:models] / units.rate_rps,
    )


def solve(templates: Templates, fleet: Fleet, effort: Effort, *, start: I64 | None = None) -> Answer:
    """The integer program over ``templates``.

    ``start`` (templates, stages) is a plan to improve on. No workers, and a bound of minus infinity where that
    is proven, mean that there is no plan.
    """
    began = time.perf_counter()
    units = units_of(templates, fleet)
    rows, worker_column = _integer_program(templates, fleet, units)
    used = worker_column >= 0
    guess = None if start is None else (worker_column[used], start[used])
    highs = run(rows, effort, guess)
    value = values(highs, len(rows.upper))
    workers = np.where(used, np.rint(value[worker_column]), 0).astype(np.int64)
    return answer_of(highs, workers, units, began)


def answer_of(highs: object, workers: I64, units: Units, began: float) -> Answer:
    """What HiGHS proved, in units of the value; ``began`` is when the work on it did."""
    info = highs.getInfo()  # type: ignore[attr-defined]  # highspy ships no types
    bound = -math.inf if is_infeasible(highs) else info.mip_dual_bound * units.value
    return Answer(workers, bound, time.perf_counter() - began, int(info.mip_node_count))


def units_of(templates: Templates, fleet: Fleet) -> Units:
    """Units in which demands are :data:`SCALED_DEMAND`, and costs whole where they can be; or throughput near 1."""
    if fleet.hourly_cost is not None:
        return Units(fleet.weight / SCALED_DEMAND, _cost_unit(fleet.hourly_cost))
    best = np.zeros(len(fleet.weight))
    np.maximum.at(best, templates.model, templates.device_rps.min(axis=1))
    value = float((best * fleet.count.sum() / fleet.weight).min() / len(best))
    return Units(fleet.weight * value, value)


def most_needed(fleet: Fleet) -> float:
    """More of one model than this, in units of its rate, improves no plan.

    One worker may serve far more of a model of small weight or demand. Counting no more of it leaves the same plans,
    and keeps coefficients small: else the solver takes a sliver of a worker, which rounds to none, for enough.
    """
    # By the unit of throughput no plan has more than as many units as there are models.
    return SCALED_DEMAND if fleet.hourly_cost is not None else float(len(fleet.weight))


def _cost_unit(hourly_cost: F64) -> float:
    """What all costs are whole multiples of: the solver then rounds its bound up to one. Else the largest."""
    exact = [Fraction(cost).limit_denominator(FINEST_COST) for cost in hourly_cost.tolist()]
    if not np.allclose([float(cost) for cost in exact], hourly_cost, rtol=1e-12, atol=0.0):
        return float(hourly_cost.max())
    denominator = math.lcm(*(cost.denominator for cost in exact))
    unit = math.gcd(*(int(cost * denominator) for cost in exact))
    return unit / denominator or 1.0


def meet_demand(
    rows: Rows, fleet: Fleet, columns: Sequence[NDArray[np.int64]], rate: Sequence[F64] | None = None
) -> None:
    """Every model's ``columns`` together serve its demand, or its weight times the objective.

    ``rate``: what one unit of each column serves, in the program's units; absent: 1.
    """
    objective = rows.column(cost=1.0) if fleet.hourly_cost is None else None
    for m, own in enumerate(columns):
        served = np.ones(len(own)) if rate is None else rate[m]
        entries = list(zip(own.tolist(), served.tolist(), strict=True))
        if objective is None:
            rows.row(entries, lower=SCALED_DEMAND)
        else:
            rows.row([(objective, -1.0), *entries], lower=0.0)


def group_key(templates: Templates, t: int, s: int, fleet: Fleet) -> tuple[int, ...]:
    """The group of a stage's workers, device class first; workers of one group may share devices."""
    device_class = int(templates.device_class[t, s])
    return (device_class,) if fleet.share_devices else (device_class, int(templates.model[t]), s)


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
    """The parts of all workers sum to no more than the ``devices``."""
    part: dict[int, Fraction] = defaultdict(Fraction)
    for column, share, workers in members:
        part[column] += Fraction(workers, share)
    # Multiplied by the least common denominator, so that every coefficient is whole.
    unit = math.lcm(*(share for _, share, _ in members))
    rows.row([(devices, -float(unit)), *((column, float(p * unit)) for column, p in part.items())], upper=0.0)


def _hold_patterns(
    rows: Rows,
    devices: Sequence[int],
    fills: Sequence[tuple[int, ...]],
    shares: Sequence[int],
    members: Sequence[tuple[int, int, int]],
) -> None:
    """The workers on each share are no more than the patterns of all devices hold."""
    for k, share in enumerate(shares):
        on_share: dict[int, float] = defaultdict(float)
        for column, other, workers in members:
            if other == share:
                on_share[column] += workers
        held = [(device, -float(fill[k])) for device, fill in zip(devices, fills, strict=True) if fill[k]]
        rows.row([*held, *on_share.items()], upper=0.0)


def _integer_program(templates: Templates, fleet: Fleet, units: Units) -> tuple[Rows, NDArray[np.int64]]:
    """The program's rows, and the column of every worker count (-1 where there is no stage)."""
    rows = Rows()
    rate = [rows.column() for _ in range(len(templates))]
    meet_demand(rows, fleet, [np.flatnonzero(templates.model == m) for m in range(len(fleet.weight))])
    worker_column = np.full(templates.share.shape, -1, dtype=np.int64)
    uses: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    needed = most_needed(fleet)
    for t, s in np.argwhere(templates.device_class >= 0).tolist():
        share = int(templates.share[t, s])
        most = float(fleet.count[templates.device_class[t, s]] * share)
        column = worker_column[t, s] = rows.column(upper=most, integer=True)
        scaled = min(templates.worker_rps[t, s] / units.rate_rps[templates.model[t]], needed)
        rows.row([(rate[t], 1.0), (column, -scaled)], upper=0.0)
        uses[group_key(templates, t, s, fleet)].append((column, share, 1))
    share_out_devices(rows, fleet, units, uses)
    return rows, worker_column
