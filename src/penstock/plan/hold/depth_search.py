"""The search for the plan that holds the highest rates. A judge measures the plans.

1. Draft a plan by :mod:`penstock.plan.hold.depth_program`, with the need of each model's own arrivals. Measure it. The
   part of the expected rate that a model holds is learned (its *trust*), and the next plan is drafted with it.
2. Do the same with the need of all models' arrivals together, as if pools were shared. Such plans are measured with
   lent and with shared pools only: there a burst of one model finds workers that the others leave idle.
3. Measure the best plans with lent and with shared pools too.
4. Judge the best plans again on more runs, then the best of these on still more (successive elimination: Even-Dar,
   Mannor, Mansour, "Action elimination and stopping conditions", JMLR 2006). A judge uses the same random numbers for
   all plans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan
from penstock.plan.goodput_bound.paths import Paths
from penstock.plan.hold.candidates import PLANNED_PARTS, Candidates
from penstock.plan.hold.capacity_need import own_needs, pooled_needs
from penstock.plan.hold.depth_program import EFFORT, Needs
from penstock.plan.interfaces import Evaluate, Judge, Score

ROUNDS = 2
"""Plans drafted for each part of the interfaces. What is learned changes little afterwards."""

SHARED = 4
"""How many of the best plans of the first kind are also measured with lent and with shared pools."""

KEPT = (6, 3)
"""How many plans the first and each later judge get. The search's own measurements are off by some per cent."""

FIRST_PART = 0.97
"""Of the fluid bound: the first estimate of what is held."""

LEARNED = 0.7
"""The power of held / expected that is learned from one plan. A whole worker more or less moves both."""

LEAST_TRUST, MOST_TRUST = 0.3, 2.0
"""Held / expected is learned within these limits."""


@dataclass(frozen=True)
class Measured:
    """A plan with the rates that it holds. ``goodput_rps`` is the least held rate / weight."""

    plan: Plan
    score: Score
    goodput_rps: float


@final
@dataclass
class DepthSearch:
    """The state of one search. ``watch`` is called with every plan measured.

    ``paths``: the arrivals of the judge. ``target``: the share of the requests to hold. ``judges``: from few runs to
    many. Without them the search's own measurements decide.
    """

    candidates: Candidates
    weights: Sequence[float]
    evaluate: Evaluate
    paths: Paths
    target: float
    watch: Callable[[Measured], None] = lambda measured: None
    judges: Sequence[Judge] = ()
    measured: list[Measured] = field(default_factory=list)

    def run(self, rounds: int = ROUNDS) -> Measured:
        """The plan that holds most. Raises :class:`InfeasibleError` if no plan holds any rate."""
        slo_s = self.candidates.slo_s
        for part in PLANNED_PARTS:
            self._draft(part, own_needs(self.paths, slo_s, self.target), rounds, self._as_planned)
        if not self.measured:
            raise self.candidates.no_plan()
        for one in self._ranked()[:SHARED]:
            self._shared(one.plan)
        if len(self.weights) > 1:
            for part in PLANNED_PARTS:
                self._draft(part, pooled_needs(self.paths, slo_s, self.target), 1, self._shared)
        if self._ranked()[0].goodput_rps <= 0.0:
            raise InfeasibleError(
                "no plan holds the target at any rate tried: the SLOs leave no time for queueing, or the 99th "
                "percentiles of the profiles none for late batches. Raise the SLOs, profile again, or ask for a "
                "lower attainment."
            )
        return self._eliminate()

    def _draft(self, part: float, needs: Needs, rounds: int, measure: Callable[[Plan], Score | None]) -> None:
        """Draft and measure ``rounds`` plans, each with what was learned from those before.

        ``part``: of the interfaces that is planned.
        """
        program = self.candidates.program(part)
        weight = np.array(self.weights)
        trust = np.ones(len(weight))
        first_rps = FIRST_PART * self.candidates.bound * weight
        for _ in range(rounds):
            drafted = program.draft(first_rps, needs, trust, EFFORT)
            if drafted is None:
                break
            plan = self.candidates.plan(drafted)
            score = measure(plan)
            if score is None:
                break
            held = np.array([model.held_rps for model in score.models])
            seen = held / self.candidates.expected_rps(plan, drafted)
            trust = trust ** (1 - LEARNED) * np.clip(seen, LEAST_TRUST, MOST_TRUST) ** LEARNED
            first_rps = drafted.estimate_rps

    def _as_planned(self, plan: Plan) -> Score:
        """What ``plan`` holds. An equal plan is not measured again."""
        known = next((one.score for one in self.measured if _are_alike(one.plan, plan)), None)
        return known or self._measure(plan)

    def _shared(self, plan: Plan) -> Score | None:
        """What ``plan`` holds with lent or shared pools, whichever is more; None if it cannot share any."""
        scores = []
        for lent in (True, False):
            shared = self.candidates.shared(plan, lent=lent)
            if shared is not None:
                scores.append(self._as_planned(shared))
        return max(scores, key=lambda score: score.goodput(self.weights), default=None)

    def _measure(self, plan: Plan) -> Score:
        score = self.evaluate(plan)
        self.measured.append(Measured(plan, score, score.goodput(self.weights)))
        self.watch(self.measured[-1])
        return score

    def _ranked(self) -> list[Measured]:
        """Every measured plan, from the best to the worst. No two are alike, because each is measured once."""
        return sorted(self.measured, key=lambda one: one.goodput_rps, reverse=True)

    def _eliminate(self) -> Measured:
        """The best plan by the last judge. Each judge measures the best plans of the one before."""
        ranked = self._ranked()
        for number, judge in enumerate(self.judges):
            kept = ranked[: KEPT[min(number, len(KEPT) - 1)]]
            ranked = []
            for one in kept:
                score = judge(one.plan, one.score)
                ranked.append(replace(one, score=score, goodput_rps=score.goodput(self.weights)))
                self.watch(ranked[-1])
            ranked.sort(key=lambda one: one.goodput_rps, reverse=True)
        return ranked[0]


def _are_alike(one: Plan, other: Plan) -> bool:
    """Whether both have the same pipelines and share them alike."""
    return (
        [m.pipelines for m in one.models] == [m.pipelines for m in other.models]
        and one.shared_pools == other.shared_pools
        and one.lent_pools == other.lent_pools
    )
