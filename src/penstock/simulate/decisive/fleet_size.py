"""Part (c): how many devices a demand needs, as planned under each load."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.schedule.table import DispatchTable
from penstock.simulate.decisive.contestants import Contestant, Rules
from penstock.simulate.judge.trial import Trial

MakeTable = Callable[[int], DispatchTable | None]
"""The plan for so many devices as a table, or None if they are too few for any plan."""


def devices_needed(
    make_table: MakeTable,
    demand_rps: Sequence[float],
    load: Contestant,
    rules: Rules,
    runs: int,
    first: int,
    most: int,
) -> int | None:
    """The fewest devices, up to ``most``, whose plan holds ``demand_rps``; None if ``most`` are too few.

    Held means that the requests of all ``runs`` together meet the target. Bisection from ``first``, taking it that
    more devices never hold less.
    """

    def holds(devices: int) -> bool:
        table = make_table(devices)
        return table is not None and _holds(table, demand_rps, load, rules, runs)

    low, high = 0, min(max(first, 1), most)
    while not holds(high):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _holds(
    table: DispatchTable, demand_rps: Sequence[float], load: Contestant, rules: Rules, runs: int
) -> bool:
    missed = arrived = np.zeros(len(demand_rps), np.int64)
    for run in range(runs):
        trial = Trial(load.of_run(run), rules.policy, rules.seconds, (run,), rules.noise)
        own_missed, own_arrived = trial.counts(table, demand_rps)
        missed, arrived = missed + own_missed.sum(axis=0), arrived + own_arrived.sum(axis=0)
    return bool((missed <= (1 - rules.target) * arrived).all())
