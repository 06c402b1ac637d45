"""The program of the closed loop: capacity and backlog of every model must suffice for the rate that it is to hold.

The rows come from :mod:`penstock.plan.hold.capacity_need`. A model that is to hold ``R`` requests per second needs
``capacity >= R * (level - slope * depth)`` for each line. The depth is that of the pipelines, ``sum of rate * slack``.
So with ``R`` before the depth fixed at an estimate, every line counts a part of each template's rate:

    sum over templates of rate * (1 + slope * estimate * slack) / level  >=  R.

So the program itself finds how many loose pipelines should stand behind tight ones, model by model. Nothing is guessed
but the estimate, and that converges in a few steps. Interfaces of hosts have rows too, each for all hosts of a class.
So a device that sends much may use what its neighbours leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.exact.counted_rates import CountedRates
from penstock.plan.exact.infeasibility import solve_demands
from penstock.plan.exact.objective import model_rates, trimmed
from penstock.plan.exact.worker_program import relaxation, solve, units_of
from penstock.plan.highs import Effort, run
from penstock.plan.hold.capacity_need import CapacityNeed
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import Templates

NEAR_TEMPLATES = 40
"""Templates per model in the integer program: those that the relaxation uses, then those of least reduced cost."""

STEPS, SETTLED = 6, 0.003
"""The estimate of what is held follows the relaxation until it moves by no more than this part."""

EFFORT = Effort(gap=3e-4, time_limit_s=2.0)
"""Of the integer program, for one draft. Six seconds found no better workers than two."""

Needs = Callable[[Sequence[float]], Sequence[CapacityNeed]]
"""The need of each model at given rates (models,) in requests per second."""


@dataclass(frozen=True)
class Drafted:
    """Workers (templates, stages) over ``templates``, and what the program expects of them.

    ``compute_rps`` (templates, stages): what a worker computes, whatever it moves. ``estimate_rps`` (models,): the
    rates at which ``needs`` were taken.
    """

    templates: Templates
    compute_rps: F64
    workers: I64
    estimate_rps: F64
    needs: Sequence[CapacityNeed]


@dataclass(frozen=True)
class DepthProgram:
    """Templates with what they need, for one fleet.

    The rates of ``templates`` are what workers compute and move, ``compute_rps`` (templates, stages) what they compute.
    ``slack_s`` (templates,): SLO less latency. ``load`` (interfaces, templates), ``room`` (interfaces,): as in
    :class:`CountedRates`.
    """

    templates: Templates
    compute_rps: F64
    fleet: Fleet
    slack_s: F64
    load: F64
    room: F64

    def draft(self, first_rps: F64, needs: Needs, trust: F64, effort: Effort) -> Drafted | None:
        """The best workers found. None if none were found that serve every model.

        ``first_rps`` (models,): about what will be held. ``trust`` (models,): which part of the expected rate a model
        was seen to hold.
        """
        rates, found = first_rps, list(needs(first_rps.tolist()))
        counted = self._counted(rates, found, trust)
        value, loss = self._relax(counted)
        for _ in range(STEPS if self.fleet.hourly_cost is None else 0):
            if value <= 0.0 or abs(value * self.fleet.weight / rates - 1.0).max() <= SETTLED:
                break
            rates = value * self.fleet.weight
            found = list(needs(rates.tolist()))
            counted = self._counted(rates, found, trust)
            value, loss = self._relax(counted)
        near = self._near(loss)
        templates = self.templates.take(near)
        answer = solve(templates, self.fleet, effort, counted=counted.take(near))
        workers = trimmed(templates, answer.workers)
        if not model_rates(templates, workers, len(self.fleet.weight)).all():
            return None
        return Drafted(templates, self.compute_rps[near], workers, rates, found)

    def fluid_bound(self) -> float:
        """No plan has a higher value: that of the relaxation if nothing queues.

        For costs: no plan that meets the demands costs less. Infinite if the solver proves that they cannot be met.
        """
        models = np.arange(len(self.fleet.weight))
        plain = CountedRates(models, np.ones((len(models), len(self.templates))), self.load, self.room)
        units = units_of(self.templates, self.fleet)
        rows, demands, _ = relaxation(self.templates, self.fleet, units, plain)
        return abs(solve_demands(rows, demands).bound) * units.value

    def _counted(self, rates_rps: F64, needs: Sequence[CapacityNeed], trust: F64) -> CountedRates:
        models, parts = [], []
        for m, (need, rate) in enumerate(zip(needs, rates_rps.tolist(), strict=True)):
            for level, slope in zip(need.level.tolist(), need.slope.tolist(), strict=True):
                models.append(m)
                parts.append(trust[m] * (1.0 + slope * rate * self.slack_s) / level)
        return CountedRates(np.array(models), np.array(parts), self.load, self.room)

    def _relax(self, counted: CountedRates) -> tuple[float, F64]:
        """The value of the linear relaxation, and the reduced cost of each template at its prices: (templates,)."""
        units = units_of(self.templates, self.fleet)
        rows, _, need = relaxation(self.templates, self.fleet, units, counted)
        unit_rps = units.rate_rps[self.templates.model]
        costs = need @ self.fleet.device_cost / units.value
        solver = run(rows)
        if not solver.has_solution:
            return 0.0, costs
        dual, lines, links = np.abs(solver.row_dual), len(counted.model), len(counted.room)
        loss = (
            costs + need @ dual[lines + links :] + (counted.load * unit_rps).T @ dual[lines : lines + links]
        )
        own = counted.model[:, None] == self.templates.model
        loss -= (np.where(own, counted.part, 0.0) * dual[:lines, None]).sum(axis=0)
        loss[solver.values[: len(loss)] > 0.0] = -np.inf
        value = solver.values[len(loss)] * units.value if self.fleet.hourly_cost is None else 1.0
        return float(value), loss

    def _near(self, loss: F64) -> I64:
        """The templates of the integer program. Whole models are among them: small fleets may hold nothing else."""
        models = range(len(self.fleet.weight))
        own = [np.flatnonzero(self.templates.model == m) for m in models]
        near = [rows[np.argsort(loss[rows], kind="stable")[:NEAR_TEMPLATES]] for rows in own]
        return np.unique(np.concatenate([*near, np.flatnonzero(self.templates.stages == 1)]))
