"""The integer program over configurations: the search's last step, small where a good plan is known.

A configuration is a template with its worker counts (:mod:`penstock.plan.losses`). A plan better than the
known one consists of configurations of small loss, at most one of each template; often a thousand remain
of all there are. A binary for each leaves the solver nothing to round but whole devices:

    maximise  z
    subject to  sum of x * rate over model m           >= weight[m] * z    for every model
                sum of x over template t               <= 1                for every template
                sum of x * workers / share over group g <= D[g]             for every group
                sum of D[g] over class c               <= count[c]         for every class
                z + sum of x * loss                    <= bound            (holds for every plan)
"""

from __future__ import annotations

import time
from collections import defaultdict
from fractions import Fraction

import numpy as np

from penstock.plan.highs import Rows, run
from penstock.plan.losses import Configurations
from penstock.plan.program import Answer, Fleet, Prices, group_key, objective_scale, share_out_devices
from penstock.plan.templates import I64, Templates


def solve_configurations(
    templates: Templates,
    configurations: Configurations,
    fleet: Fleet,
    prices: Prices,
    *,
    time_limit_s: float,
    gap: float,
    start: I64,
    mix_shares: bool = True,
) -> Answer:
    """The best choice of ``configurations``; ``start`` (templates, stages) is the known plan."""
    began = time.perf_counter()
    scale = objective_scale(templates, fleet)
    rows = _program(templates, configurations, fleet, prices, scale, mix_shares)
    chosen = (configurations.workers == start[configurations.template]).all(axis=1)
    highs = run(
        rows,
        {"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": gap},
        (1 + np.arange(len(configurations)), chosen.astype(np.int64)),
    )
    info = highs.getInfo()
    value = np.array(highs.getSolution().col_value or np.zeros(len(rows.upper)))
    taken = np.rint(value[1 : 1 + len(configurations)]) > 0
    workers = np.zeros_like(start)
    workers[configurations.template[taken]] = configurations.workers[taken]
    return Answer(workers, info.mip_dual_bound * scale, time.perf_counter() - began, int(info.mip_node_count))


def _program(
    templates: Templates,
    configurations: Configurations,
    fleet: Fleet,
    prices: Prices,
    scale: float,
    mix_shares: bool,
) -> Rows:
    """Column 0 is the objective; then one a configuration, in order."""
    rows = Rows()
    objective = rows.column(cost=1.0)
    served: dict[int, list[tuple[int, float]]] = defaultdict(list)
    alternatives: dict[int, list[tuple[int, float]]] = defaultdict(list)
    groups: dict[tuple[int, ...], list[tuple[int, Fraction]]] = defaultdict(list)
    losses = [(objective, 1.0)]
    for k, t in enumerate(configurations.template.tolist()):
        column = rows.column(upper=1.0, integer=True)
        model = int(templates.model[t])
        served[model].append((column, float(configurations.rate_rps[k] / (fleet.weight[model] * scale))))
        alternatives[t].append((column, 1.0))
        losses.append((column, float(configurations.loss[k] / scale)))
        for s in range(int(templates.stages[t])):
            part = Fraction(int(configurations.workers[k, s]), int(templates.share[t, s]))
            groups[group_key(templates, t, s, mix_shares)].append((column, part))
    for model in range(len(fleet.weight)):
        rows.row([(objective, -1.0), *served[model]], lower=0.0)
    for columns in alternatives.values():
        rows.row(columns, upper=1.0)
    share_out_devices(rows, fleet, groups)
    rows.row(losses, upper=prices.bound / scale)
    return rows
