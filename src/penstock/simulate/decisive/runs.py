"""Runs of the test: every load on the same plan, run by run, with common random numbers.

In run k all loads take the same seed, and from it the same windows and offsets of their streams; hours take turns.
What a load lets the plan hold is found by the search of ``penstock sweep``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.schedule.table import DispatchTable
from penstock.simulate.decisive.contestants import AnyLoad, Contestant, Outcome, Rules, relative_error
from penstock.simulate.judge.sweep import sweep
from penstock.simulate.judge.trial import Trial

Watch = Callable[[int, Sequence[Outcome]], None]


def held_factor(
    table: DispatchTable, first_rps: Sequence[float], load: AnyLoad, seeds: Sequence[int], rules: Rules
) -> float:
    """The least load factor over the models, on ``first_rps``, at which the target is held."""
    trial = Trial(load, rules.policy, rules.seconds, tuple(seeds), rules.noise)
    held = sweep(table, first_rps, trial, target=rules.target, tolerance=rules.tolerance)
    return min(one.rate_rps / rate for one, rate in zip(held, first_rps, strict=True))


def run_contest(
    table: DispatchTable,
    first_rps: Sequence[float],
    real: Contestant,
    others: Sequence[Contestant],
    rules: Rules,
    watch: Watch = lambda run, outcomes: None,
) -> list[Outcome]:
    """What every load lets the plan hold, the real one first; ``watch`` is told after each run."""
    found: list[list[float]] = [[] for _ in range(1 + len(others))]
    outcomes: list[Outcome] = []
    for run in range(rules.most_runs):
        for contestant, held in zip((real, *others), found, strict=True):
            held.append(held_factor(table, first_rps, contestant.of_run(run), (run,), rules))
        if run == 0:
            continue
        reference = np.array(found[0])
        outcomes = [
            Outcome(contestant, np.array(held), relative_error(np.array(held), reference))
            for contestant, held in zip((real, *others), found, strict=True)
        ]
        watch(run + 1, outcomes)
        # The error of a plain process is large: whether it is 55% or 57% decides nothing.
        judged = [one for one in outcomes if one.contestant.role != "plain"]
        if run + 1 >= rules.fewest_runs and all(one.error.half_width <= rules.half_width for one in judged):
            break
    return outcomes
