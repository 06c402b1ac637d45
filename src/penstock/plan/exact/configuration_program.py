"""The integer program over configurations: the last step of the search. It is small if a good plan is known.

A configuration is a template with its worker counts (:mod:`penstock.plan.exact.reduced_cost`). A plan that is better
than the known one consists of configurations of small loss, at most one of each template. Often only a thousand of
all configurations remain. Each has a binary variable ``x``. So only whole devices are left for the solver to round.
The rows are those of :mod:`penstock.plan.exact.worker_program`, and

    sum of x over template t     <= 1        for every template
    value + sum of x * loss      <= bound    (holds for every plan).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from penstock.arrays import I64
from penstock.clock import solving_seconds
from penstock.plan.exact.infeasibility import solve_demands
from penstock.plan.exact.reduced_cost import Configurations
from penstock.plan.exact.worker_program import (
    Answer,
    Units,
    group_key,
    meet_demand,
    most_needed,
    share_out_devices,
    units_of,
)
from penstock.plan.highs import Effort, Rows
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates


def solve_configurations(
    templates: Templates,
    configurations: Configurations,
    fleet: Fleet,
    prices: Prices,
    effort: Effort,
    *,
    start: I64,
) -> Answer:
    """The best choice of ``configurations``. ``start`` (templates, stages) is the known plan."""
    began = solving_seconds()
    units = units_of(templates, fleet)
    rows, demands = _program(templates, configurations, fleet, prices, units)
    columns = np.arange(len(configurations))
    chosen = (configurations.workers == start[configurations.template]).all(axis=1)
    solved = solve_demands(rows, demands, effort, (columns, chosen.astype(np.int64)))
    taken = np.rint(solved.values[: len(columns)]) > 0
    workers = np.zeros_like(start)
    workers[configurations.template[taken]] = configurations.workers[taken]
    return Answer(workers, solved.bound * units.value, solving_seconds() - began, solved.nodes)


def _program(
    templates: Templates, configurations: Configurations, fleet: Fleet, prices: Prices, units: Units
) -> tuple[Rows, range]:
    """Column ``k`` is configuration ``k``, and further columns follow. Also the rows of the demands."""
    rows = Rows()
    model = templates.model[configurations.template]
    alternatives: dict[int, list[tuple[int, float]]] = defaultdict(list)
    uses: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for t, workers in zip(configurations.template.tolist(), configurations.workers.tolist(), strict=True):
        column = rows.column(upper=1.0, integer=True)
        alternatives[t].append((column, 1.0))
        for s in range(int(templates.stages[t])):
            member = (column, int(templates.share[t, s]), int(workers[s]))
            uses[group_key(templates, t, s, fleet)].append(member)
    own = [np.flatnonzero(model == m) for m in range(len(fleet.weight))]
    scaled = np.minimum(configurations.rate_rps / units.rate_rps[model], most_needed(fleet))
    demands = meet_demand(rows, fleet, own, [scaled[columns] for columns in own])
    for same_template in alternatives.values():
        rows.row(same_template, upper=1.0)
    share_out_devices(rows, fleet, units, uses)
    value = [(column, cost) for column, cost in enumerate(rows.cost) if cost]
    losses = (configurations.loss / units.value).tolist()
    rows.row([*value, *enumerate(losses)], upper=prices.bound / units.value)
    return rows, demands
