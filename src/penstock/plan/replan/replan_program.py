"""The program of a change: the best workers that a fleet can hold with at most a given number of loads.

Template ``t`` gets ``n[t, s]`` whole workers at stage ``s`` and serves ``r[t] <= n[t, s] * worker rate``.
:mod:`penstock.plan.replan.seating` gives every worker a seat and counts the loads. The program maximises the value of
:mod:`penstock.plan.exact.objective`: ``z`` with ``sum of r[t] over model m >= weight[m] * z``, or, if demands are to
be met, the negated cost of the devices in use. The relaxation splits workers and devices. Then
``n[t, s] = r[t] / worker rate``, and the reduced cost of ``r[t]`` is the loss if the template is used.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.infeasibility import solve_demands
from penstock.plan.exact.worker_program import SCALED_DEMAND, Units, units_of
from penstock.plan.highs import INFINITY, Effort, Rows
from penstock.plan.replan.device_uses import Layout, Part, Seat, group_of
from penstock.plan.replan.seating import Seating, seat_workers
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import Templates


@dataclass(frozen=True)
class Change:
    """The start of a change, and what it is judged by. ``known``: what runs today on the devices in service."""

    scenario: Scenario
    fleet: Fleet
    known: Sequence[Layout]


@dataclass(frozen=True)
class Aim:
    """What to maximise, and which limits to respect.

    ``value``, ``load`` and ``fill`` are weights: of the value (in its unit), of the loads (each, negated) and of the
    served rates of all models (in their units). ``at_least`` is a value that must be reached.
    """

    value: float = 1.0
    load: float = 0.0
    fill: float = 0.0
    most_loads: float = INFINITY
    at_least: float | None = None


@dataclass(frozen=True)
class Found:
    """Workers (templates, stages), their value and loads, and a limit on the aim.

    If none were found, there are no workers and the value is minus infinity.
    """

    workers: I64
    value: float
    loads: int
    bound: float

    @classmethod
    def none(cls, templates: Templates) -> Found:
        """An answer that found nothing and proved nothing."""
        return cls(np.zeros(templates.share.shape, dtype=np.int64), -math.inf, 0, math.inf)


@dataclass(frozen=True)
class Relaxed:
    """The relaxation: a limit on every change's value, and the least loss of each template."""

    bound: float
    loss: F64


def relax_change(change: Change, templates: Templates, most_loads: float) -> Relaxed:
    """The relaxation over ``templates`` with at most ``most_loads`` loads.

    The bound is minus infinity if the demands cannot be met even with split workers.
    """
    program = _Program.build(change, templates, Aim(most_loads=most_loads), whole=False)
    solved = solve_demands(program.rows, program.demands)
    if solved.solver.claims_infeasible_or_unbounded:
        return Relaxed(solved.bound, np.zeros(len(templates)))
    reduced = np.abs(solved.solver.column_dual[program.rate])
    # Without idle workers, a pipeline serves at least as much as one worker of its slowest stage.
    least = templates.worker_rps.min(axis=1) / program.units.rate_rps[templates.model]
    unit = program.units.value
    return Relaxed(solved.bound * unit, reduced * least * unit)


def solve_change(
    change: Change,
    templates: Templates,
    aim: Aim,
    effort: Effort,
    start: I64 | None = None,
) -> Found:
    """The integer program over ``templates``. The gap of ``effort`` is the gap of the aim.

    ``start`` (templates, stages) is a plan to improve on. The bound is in units of the value if the aim
    is only the value.
    """
    program = _Program.build(change, templates, aim, whole=True)
    used = program.worker >= 0
    guess = None if start is None else (program.worker[used], start[used])
    solved = solve_demands(program.rows, program.demands, effort, guess)
    unit = program.units.value
    if not solved.solver.has_solution:
        return Found(np.zeros_like(program.worker), -math.inf, 0, solved.bound * unit)
    solution = solved.values
    workers = np.where(used, np.rint(solution[program.worker]), 0).astype(np.int64)
    value = float(solution[program.value]) * unit
    if change.fleet.hourly_cost is not None:
        value = -value
    loads = round(solution[program.seating.loads])
    return Found(workers, value, loads, solved.bound * unit)


@dataclass(frozen=True)
class _Program:
    """Rows in ``units``, and the columns to read: the rate of every template (templates,), its workers
    (templates, stages; -1 if there is no such stage), and the value. For a cost, the value is what is spent.
    ``demands``: the rows that may make the program infeasible.
    """

    rows: Rows
    units: Units
    rate: I64
    worker: I64
    value: int
    seating: Seating
    demands: Sequence[int]

    @classmethod
    def build(cls, change: Change, templates: Templates, aim: Aim, *, whole: bool) -> _Program:
        units = units_of(templates, change.fleet)
        rows = Rows()
        rate = np.array([rows.column(cost=aim.fill) for _ in range(len(templates))], dtype=np.int64)
        worker = np.full(templates.share.shape, -1, dtype=np.int64)
        seats: dict[Seat, list[tuple[int, float]]] = defaultdict(list)
        for t, s in np.argwhere(templates.device_class >= 0).tolist():
            served = float(templates.worker_rps[t, s] / units.rate_rps[templates.model[t]])
            seat = seat_of(change.scenario, templates, t, s)
            if whole:
                most = float(change.fleet.count[seat.part.device_class] * seat.part.share)
                column = worker[t, s] = rows.column(upper=most, integer=True)
                rows.row([(int(rate[t]), 1.0), (int(column), -served)], upper=0.0)
                seats[seat].append((int(column), 1.0))
            else:
                seats[seat].append((int(rate[t]), 1.0 / served))
        seating = seat_workers(
            rows,
            seats,
            change.known,
            change.fleet.count,
            whole=whole,
            load_cost=aim.load,
            most_loads=aim.most_loads,
        )
        own = [rate[templates.model == m] for m in range(len(change.fleet.weight))]
        judged = _spent if change.fleet.hourly_cost is not None else _least_rate
        first = len(rows.entries)
        value = judged(rows, change.fleet, units, aim, own, seating)
        demands = [row for row in range(first, len(rows.entries)) if rows.row_lower[row] > 0.0]
        return cls(rows, units, rate, worker, value, seating, demands)


def seat_of(scenario: Scenario, templates: Templates, t: int, s: int) -> Seat:
    """The seat of a template's workers at stage ``s``."""
    start, stop = (int(cut) for cut in templates.cuts[t, s : s + 2])
    part = Part(
        int(templates.model[t]), start, stop, int(templates.device_class[t, s]), int(templates.share[t, s])
    )
    return Seat(group_of(scenario, part, s), part)


def _least_rate(
    rows: Rows, fleet: Fleet, units: Units, aim: Aim, own: Sequence[I64], seating: Seating
) -> int:
    """The column of the least rate / weight over the models. ``own``: the rate columns of each model."""
    least = rows.column(cost=aim.value)
    rows.row([(least, 1.0)], lower=0.0 if aim.at_least is None else aim.at_least / units.value)
    for rates in own:
        rows.row([(least, -1.0), *((rate, 1.0) for rate in rates.tolist())], lower=0.0)
    return least


def _spent(rows: Rows, fleet: Fleet, units: Units, aim: Aim, own: Sequence[I64], seating: Seating) -> int:
    """The column of the cost of the devices in use, with every demand met."""
    spent = rows.column(
        cost=-aim.value, upper=INFINITY if aim.at_least is None else -aim.at_least / units.value
    )
    for rates in own:
        rows.row([(rate, 1.0) for rate in rates.tolist()], lower=SCALED_DEMAND)
    uses = enumerate(seating.uses, seating.first_use)
    paid = [(column, float(fleet.device_cost[use.group[0]] / units.value)) for column, use in uses]
    rows.row([(spent, -1.0), *paid], upper=0.0)
    return spent
