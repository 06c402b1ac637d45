"""The integer program over configurations: the search's last step, small where a good plan is known.

A configuration is a template with its worker counts (:mod:`penstock.plan.losses`). A plan better than the
known one consists of configurations of small loss, at most one of each template; often a thousand remain
of all there are. A binary ``x`` for each leaves the solver nothing to round but whole devices. The rows are
those of :mod:`penstock.plan.program`, and

    sum of x over template t     <= 1        for every template
    value + sum of x * loss      <= bound    (holds for every plan).
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np

from penstock.plan.highs import Effort, Rows, run, values
from penstock.plan.losses import Configurations
from penstock.plan.program import (
    Answer,
    Fleet,
    Prices,
    Units,
    answer_of,
    group_key,
    meet_demand,
    most_needed,
    share_out_devices,
    units_of,
)
from penstock.plan.templates import I64, Templates


def solve_configurations(
    templates: Templates,
    configurations: Configurations,
    fleet: Fleet,
    prices: Prices,
    effort: Effort,
    *,
    start: I64,
) -> Answer:
    """The best choice of ``configurations``; ``start`` (templates, stages) is the known plan."""
    began = time.perf_counter()
    units = units_of(templates, fleet)
    rows = _program(templates, configurations, fleet, prices, units)
    columns = np.arange(len(configurations))
    chosen = (configurations.workers == start[configurations.template]).all(axis=1)
    highs = run(rows, effort, (columns, chosen.astype(np.int64)))
    taken = np.rint(values(highs, len(columns))) > 0
    workers = np.zeros_like(start)
    workers[configurations.template[taken]] = configurations.workers[taken]
    return answer_of(highs, workers, units, began)


def _program(
    templates: Templates, configurations: Configurations, fleet: Fleet, prices: Prices, units: Units
) -> Rows:
    """Column ``k`` is configuration ``k``; others follow."""
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
    meet_demand(rows, fleet, own, [scaled[columns] for columns in own])
    for same_template in alternatives.values():
        rows.row(same_template, upper=1.0)
    share_out_devices(rows, fleet, units, uses)
    value = [(column, cost) for column, cost in enumerate(rows.cost) if cost]
    losses = (configurations.loss / units.value).tolist()
    rows.row([*value, *enumerate(losses)], upper=prices.bound / units.value)
    return rows
