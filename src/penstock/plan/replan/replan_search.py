"""The search for the best change within a number of loads.

1. Solve the relaxation of :mod:`penstock.plan.replan.replan_program`. It gives a bound, and the loss of each
template. 2. Solve the integer program over the templates of least loss and those that already run. If the gap is
   still open, solve it over all templates whose loss does not exceed the gap. That proof covers every template.
3. Remove loads that do not raise the value, and keep pools that need no load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.exact.objective import trimmed, value_gap, value_of
from penstock.plan.exact.worker_program import units_of
from penstock.plan.highs import Effort
from penstock.plan.interfaces import SearchLimits
from penstock.plan.replan.replan_program import Aim, Change, Found, relax_change, solve_change
from penstock.plan.templates.dominance import loading_undominated
from penstock.plan.templates.table import Templates
from penstock.solver import SLACK

SEED_TEMPLATES = 40
"""Templates per model, of least loss, in the first program."""

MOST_TEMPLATES = 1_500
"""The most templates of the second program. If more could matter, the relaxation is the proof."""

FIRST_SHARE = 0.4
SECOND_SHARE = 0.4
TIDY_SHARE = 0.2
"""Shares of the time limit for the first program, the second one, and the removal of loads."""

SOLVER_SHARE = 0.9
"""Part of the gap that is asked of the solver. The rest is for its tolerance."""


@final
@dataclass(frozen=True)
class ChangeSearch:
    """``templates`` that some best change may need. ``runs`` (templates,): those whose pieces all run already."""

    change: Change
    templates: Templates
    runs: I64
    limits: SearchLimits

    @classmethod
    def of(cls, change: Change, every: Templates, limits: SearchLimits) -> ChangeSearch:
        """The search over ``every`` feasible template of the changed scenario."""
        kept = loading_undominated(every, _loaded(every, change))
        runs = ((_loaded(kept, change) > 0) | (kept.share == 0)).all(axis=1)
        return cls(change, kept, np.flatnonzero(runs), limits)

    def best(self, most_loads: float, limit: float) -> tuple[Found, float]:
        """The best change found within ``most_loads``, and a bound on every change. ``limit`` is a known bound.

        Workers are over :attr:`templates`. If no change was found, there are none and the value is minus infinity.
        """
        relaxed = relax_change(self.change, self.templates, most_loads)
        limit = min(relaxed.bound, limit)
        # The solver's slack may have raised a bound of 0.
        if (
            limit == -math.inf
            or 0.0 <= limit <= 3.0 * SLACK * units_of(self.templates, self.change.fleet).value
        ):
            return Found.none(self.templates), limit
        rows = self._first_rows(relaxed.loss)
        found = self._solve(rows, Aim(most_loads=most_loads), FIRST_SHARE)
        bound = _proven(limit, found) if len(rows) == len(self.templates) else limit
        if value_gap(found.value, bound) > self.limits.gap:
            rows, are_all = self._second_rows(relaxed.loss, limit - found.value, found.workers)
            again = self._solve(rows, Aim(most_loads=most_loads), SECOND_SHARE, found.workers)
            found = max(again, found, key=lambda answer: answer.value)
            bound = max(_proven(limit, again), found.value) if are_all else limit
        if not math.isfinite(found.value):  # the workers may serve some models, but not all
            return Found.none(self.templates), bound
        return self._tidied(found, most_loads), bound

    def fewest_loads(self) -> int:
        """How many loads are enough for some plan. For throughput, no plan has fewer."""
        aim = Aim(value=0.0, load=1.0, at_least=self._least_value())
        rows = self._representatives()
        if self.change.fleet.hourly_cost is not None:
            rows = np.union1d(
                rows, self._first_rows(relax_change(self.change, self.templates, math.inf).loss)
            )
        return self._solve(rows, aim, FIRST_SHARE).loads

    def _least_value(self) -> float | None:
        """A value that every throughput above 0 reaches: one worker at each stage of the slowest pipeline."""
        if self.change.fleet.hourly_cost is not None:
            return None
        rate = self.templates.worker_rps.min(axis=1) / self.change.fleet.weight[self.templates.model]
        return float(rate.min())

    def _representatives(self) -> I64:
        """One template, the fastest, of each kind that needs the same room and the same loads."""
        templates = self.templates
        order = np.argsort(-templates.worker_rps.min(axis=1), kind="stable")
        key = np.column_stack(
            [templates.model, templates.device_class, templates.share, _loaded(templates, self.change)]
        )
        _, first = np.unique(key[order], axis=0, return_index=True)
        return np.sort(order[first])

    def _first_rows(self, loss: F64) -> I64:
        """Templates of least loss of every model, and those that already run."""
        rows = [self.runs]
        for m in range(len(self.change.fleet.weight)):
            own = np.flatnonzero(self.templates.model == m)
            rows.append(own[np.argsort(loss[own], kind="stable")[:SEED_TEMPLATES]])
        return np.unique(np.concatenate(rows))

    def _second_rows(self, loss: F64, most_loss: float, workers: I64) -> tuple[I64, bool]:
        """Templates that a better plan may use, and whether they are all of these."""
        able = np.flatnonzero(loss <= most_loss * (1 + 1e-9) + 1e-9)
        are_all = len(able) <= MOST_TEMPLATES
        able = able[np.argsort(loss[able], kind="stable")[:MOST_TEMPLATES]]
        return np.union1d(able, np.flatnonzero(workers.any(axis=1))), are_all

    def _solve(self, rows: I64, aim: Aim, time_share: float, start: I64 | None = None) -> Found:
        """The program over the templates in ``rows``. Its workers are returned over all templates."""
        templates = self.templates.take(rows)
        found = solve_change(
            self.change,
            templates,
            aim,
            Effort(SOLVER_SHARE * self.limits.gap, time_share * self.limits.time_limit_s),
            None if start is None or not start.any() else start[rows],
        )
        workers = np.zeros(self.templates.share.shape, dtype=np.int64)
        workers[rows] = trimmed(templates, found.workers)
        value = found.value
        if self.change.fleet.hourly_cost is None:
            value = value_of(self.templates, workers, self.change.fleet)
        return Found(workers, value, found.loads, found.bound)

    def _tidied(self, found: Found, most_loads: float) -> Found:
        """An equally good plan with fewer loads. With ``fill``, it keeps as many running workers as cost nothing."""
        rows = np.union1d(self.runs, np.flatnonzero(found.workers.any(axis=1)))
        is_filled = self.change.scenario.planner.fill and self.change.fleet.hourly_cost is None
        aim = Aim(
            value=0.0,
            load=1.0,
            fill=0.5 / self._most_rates(rows) if is_filled else 0.0,  # all together weigh less than one load
            most_loads=most_loads,
            at_least=found.value,
        )
        tidy = self._solve(rows, aim, TIDY_SHARE, found.workers)
        return tidy if tidy.value >= found.value * (1 - 1e-9) else found

    def _most_rates(self, rows: I64) -> float:
        """A limit on what all templates in ``rows`` can serve at once, in units of weight * value."""
        part = self.templates.take(rows)
        whole = np.where(part.share > 0, part.device_rps * self.change.fleet.count[part.device_class], np.inf)
        return float((whole.min(axis=1) / units_of(part, self.change.fleet).rate_rps[part.model]).sum())


def _proven(limit: float, answer: Found) -> float:
    return max(min(limit, answer.bound), answer.value)


def _loaded(templates: Templates, change: Change) -> I64:
    """The number, from 1, of the piece of every stage that runs already. 0 if it does not run."""
    parts = sorted({part for layout in change.known for part in layout.parts})
    starts, stops = templates.cuts[:, :-1], templates.cuts[:, 1:]
    models = np.broadcast_to(templates.model[:, None], starts.shape)
    loaded = np.zeros(templates.share.shape, dtype=np.int64)
    for number, part in enumerate(parts, 1):
        columns = (models, starts, stops, templates.device_class, templates.share)
        same = np.logical_and.reduce([column == value for column, value in zip(columns, part, strict=True)])
        loaded[same] = number
    return loaded
