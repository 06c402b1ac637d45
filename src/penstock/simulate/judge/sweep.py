"""The highest rate at which a plan holds a target attainment, model by model.

Attainment falls as the rate rises, so the rate is found by bracketing. Every simulation serves all models at once and
narrows the bracket of each model. Models that share no pool share only the network, so their searches can use the
same simulations. Models that share or lend pools have one bracket, of the factor on their first rates, and the model
that misses most decides. Within a bracket the next rate is found from the logarithm of the misses, which is nearly a
straight line there (in a queue where requests give up after a time, the losses fall exponentially with the load).

A rate is held if the requests of all seeds together meet the target. The confidence interval leaves out one seed at a
time (the jackknife: Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981) and computes the
crossing of the rest from the rates already tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.interval import student_quantile
from penstock.schedule.table import DispatchTable
from penstock.simulate.judge.trial import Trial

FIRST_STEP = 0.04
"""Relative distance of the second rate from the first; doubled until the target is bracketed."""

LEAST_SHARE = 0.02
"""Below this share of the first rate the search gives up: nothing is held."""

NEAR = 0.15
"""Rates within this logarithm of the held one tell how fast the misses grow there."""

EDGE = 0.15
"""An interpolated rate keeps this share of the bracket's width from its ends, so that the bracket shrinks."""


@dataclass(frozen=True)
class Held:
    """The highest rate tried that held the target, 0 if none did, and the attainment there.

    ``low_rps`` and ``high_rps``: 95% confidence interval of the rate over seeds; the rate itself with one seed.
    ``curve``: every (rate, attainment) tried, by rate.
    """

    rate_rps: float
    attainment: float
    low_rps: float
    high_rps: float
    curve: tuple[tuple[float, float], ...]


def sweep(
    table: DispatchTable,
    first_rps: Sequence[float],
    trial: Trial,
    *,
    target: float = 0.99,
    tolerance: float = 0.005,
    first_step: float = FIRST_STEP,
) -> list[Held]:
    """The highest rate of every model of ``table`` that holds ``target``, to a relative ``tolerance``.

    ``first_rps``: where to start, one a model. A model whose search has ended stays near the rate it holds. Models that
    share pools keep the proportions of their first rates. ``first_step``: relative distance of the second rate.
    """
    groups = [_Group(models, Search(1.0, target, tolerance, step=first_step)) for models in _sharing(table)]
    while not all(group.search.has_ended for group in groups):
        factor = {m: group.search.next_rps for group in groups for m in group.models}
        missed, arrived = trial.counts(table, [factor[m] * rate for m, rate in enumerate(first_rps)])
        for group in groups:
            if not group.search.has_ended:
                group.note(missed, arrived)
    held = {m: one for group in groups for m, one in group.held(first_rps)}
    return [held[m] for m in range(table.n_models)]


def sweep_together(
    count: Callable[[Sequence[float]], tuple[I64, I64]],
    first_rps: Sequence[float],
    *,
    target: float,
    tolerance: float,
) -> list[Held]:
    """As :func:`sweep` for models that all keep the proportions of ``first_rps``.

    ``count`` of (models,) rates gives the requests missed and arrived, each (seeds, models).
    """
    group = _Group(list(range(len(first_rps))), Search(1.0, target, tolerance))
    while not group.search.has_ended:
        missed, arrived = count([group.search.next_rps * rate for rate in first_rps])
        group.note(missed, arrived)
    return [held for _, held in group.held(first_rps)]


def _sharing(table: DispatchTable) -> list[list[int]]:
    """Groups of models that share a pool, or lend each other workers, directly or through other models."""
    pools = table.lend_group if table.lends else table.pool_of_stage
    stages = table.stage_offsets[table.pipeline_offsets]
    groups: list[tuple[set[int], list[int]]] = []
    for model in range(table.n_models):
        own, members = set(pools[stages[model] : stages[model + 1]].tolist()), [model]
        for other in [group for group in groups if group[0] & own]:
            groups.remove(other)
            own, members = own | other[0], other[1] + members
        groups.append((own, members))
    return [members for _, members in groups]


@dataclass
class _Group:
    """Models that are searched together: one factor on their first rates. ``counts``: (missed, arrived) by factor."""

    models: list[int]
    search: Search
    counts: dict[float, tuple[I64, I64]] = field(default_factory=dict)

    def note(self, missed: I64, arrived: I64) -> None:
        """Note the counts (seeds, models of the table) at the factor; the counts of the worst model decide."""
        self.counts[self.search.next_rps] = missed, arrived
        share = missed.sum(axis=0) / np.maximum(arrived.sum(axis=0), 1)
        worst = max(self.models, key=lambda m: float(share[m]))
        self.search.note(missed[:, worst], arrived[:, worst])

    def held(self, first_rps: Sequence[float]) -> list[tuple[int, Held]]:
        """Every model's result."""
        found = self.search.held()
        last = self.search.low or self.search.tried[-1][0]
        results = []
        for m in self.models:
            attained = {
                factor: 1.0 - float(missed[:, m].sum()) / max(int(arrived[:, m].sum()), 1)
                for factor, (missed, arrived) in self.counts.items()
            }
            rate = first_rps[m]
            curve = tuple((factor * rate, attained[factor]) for factor in sorted(attained))
            low, high = found.low_rps * rate, found.high_rps * rate
            results.append((m, Held(found.rate_rps * rate, attained[last], low, high, curve)))
        return results


@dataclass
class Search:
    """The search in one bracket: ``low`` is held, ``high`` is not. ``tried`` has (rate, missed, arrived) by seed."""

    first_rps: float
    target: float
    tolerance: float
    low: float = 0.0
    high: float = math.inf
    step: float = FIRST_STEP
    next_rps: float = field(init=False)
    tried: list[tuple[float, I64, I64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.next_rps = self.first_rps

    @property
    def has_ended(self) -> bool:
        """The bracket is narrow, or nothing is held."""
        return self.high < LEAST_SHARE * self.first_rps or self.high <= self.low * (1 + self.tolerance)

    def note(self, missed: I64, arrived: I64) -> None:
        """Note the counts (seeds,) at ``next_rps``, and choose the next rate."""
        self.tried.append((self.next_rps, missed, arrived))
        if missed.sum() <= (1 - self.target) * arrived.sum():
            self.low = max(self.low, self.next_rps)
        else:
            self.high = min(self.high, self.next_rps)
        # On one sample path attainment may rise a little with the rate. The lowest rate that failed decides.
        self.low = min(
            self.low, max((r for r, *_ in self.tried if r < self.high and r <= self.low), default=0.0)
        )
        self.next_rps = self._next()

    def held(self) -> Held:
        """The result, with its confidence interval."""
        curve = tuple(sorted((one[0], self._attainment(one)) for one in self.tried))
        if self.low == 0.0:
            return Held(0.0, self._attainment(self.tried[-1]), 0.0, 0.0, curve)
        seeds = len(self.tried[0][1])
        spread = 0.0
        if seeds > 1:
            left_out = np.array([self._crossing_without(seed, seeds) for seed in range(seeds)])
            variance = (seeds - 1) / seeds * float(((left_out - left_out.mean()) ** 2).sum())
            spread = student_quantile(0.95, seeds - 1) * math.sqrt(variance)
        best = next(one for one in self.tried if one[0] == self.low)
        return Held(self.low, self._attainment(best), max(self.low - spread, 0.0), self.low + spread, curve)

    def _next(self) -> float:
        if self.low == 0.0 or self.high == math.inf:
            self.step, step = 2 * self.step, self.step
            return self.low * (1 + step) if self.low else self.high / (1 + step)
        at = self._crossing(np.ones(len(self.tried[0][1]), dtype=bool))
        width = self.high - self.low
        return min(max(at, self.low + EDGE * width), self.high - EDGE * width)

    def _crossing_without(self, seed: int, seeds: int) -> float:
        """Where the misses of the other seeds cross the target, with the slope of all seeds.

        The ends of the last bracket are often so near to each other that the slope between them is chance. So the slope
        is fitted to all rates tried within :data:`NEAR` of the one that is held.
        """
        others = np.arange(seeds) != seed
        near = [one for one in self.tried if abs(math.log(one[0] / self.low)) <= NEAR]
        x = np.array([math.log(one[0]) for one in near])
        y = np.array([self._excess(one, np.ones(seeds, dtype=bool)) for one in near])
        spread = float(((x - x.mean()) ** 2).sum())
        slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
        if slope <= 0:
            return self._crossing(others)
        at_low = next(one for one in self.tried if one[0] == self.low)
        return self.low * math.exp(-self._excess(at_low, others) / slope)

    def _excess(self, tried: tuple[float, I64, I64], seeds: NDArray[np.bool_]) -> float:
        """The logarithm of the misses of ``seeds`` relative to what the target allows; 0 where it is just met."""
        _, missed, arrived = tried
        return math.log((missed[seeds].sum() + 0.5) / ((1 - self.target) * arrived[seeds].sum() + 0.5))

    def _crossing(self, seeds: NDArray[np.bool_]) -> float:
        """Where the logarithm of the misses of ``seeds`` crosses the target, between the bracket's ends.

        The line through both ends; for fewer seeds it may cross outside them.
        """
        ends = {rate: (missed, arrived) for rate, missed, arrived in self.tried}
        if self.low not in ends or self.high not in ends:
            return self.low
        y_low, y_high = (self._excess((rate, *ends[rate]), seeds) for rate in (self.low, self.high))
        if y_high <= y_low:
            return 0.5 * (self.low + self.high)
        return self.low + (self.high - self.low) * -y_low / (y_high - y_low)

    @staticmethod
    def _attainment(tried: tuple[float, I64, I64]) -> float:
        _, missed, arrived = tried
        return 1.0 - float(missed.sum()) / max(int(arrived.sum()), 1)
