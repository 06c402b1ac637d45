"""The cheapest plan that holds given demands. A judge measures the plans.

The demands are the rates at which the needs are taken (:mod:`penstock.plan.hold.depth_program`), so a plan is drafted,
measured, and drafted again with what each model was seen to hold of the expected rate. The cheapest plan that holds
every demand counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from penstock.arrays import F64
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan
from penstock.plan.goodput_bound.paths import Paths
from penstock.plan.hold.candidates import PLANNED_PARTS, Candidates
from penstock.plan.hold.capacity_need import own_needs
from penstock.plan.hold.depth_program import EFFORT, DepthProgram, Drafted, Needs
from penstock.plan.interfaces import Evaluate

FITS = 8
"""Plans that are tried. What is learned does not change much after three or four."""

LEAST_PART = 0.05
"""If a model holds less than this part of its demand, nothing further is extrapolated from it."""

LEARNED = 0.7
"""The power of held / expected that is learned from one plan that holds the demand."""

LEAST_STEP = 0.005
"""If a model lacks a little, it is planned with more by at least this part."""

FIRST_TRUST = (1.0, 1.05, 1.1, 1.2)
"""Plans may hold more than the needs say. If no workers are enough by them, they are trusted with more."""


@final
@dataclass
class DemandSearch:
    """The state of one search. ``trust`` (models,): which part of the expected rate each model is planned to hold."""

    candidates: Candidates
    demands_rps: Sequence[float]
    evaluate: Evaluate
    paths: Paths
    target: float
    trust: F64 = field(init=False)
    needs: Needs = field(init=False)
    program: DepthProgram = field(init=False)

    def __post_init__(self) -> None:
        self.trust = np.ones(len(self.demands_rps))
        self.needs = own_needs(self.paths, self.candidates.slo_s, self.target)

    def run(self) -> Plan:
        """The cheapest plan found that holds the demands. :class:`InfeasibleError` if none does."""
        asked = np.array(self.demands_rps)
        best: tuple[Plan, F64] | None = None
        drafted: Drafted | None = self._first()
        for _ in range(FITS):
            if drafted is None:
                break
            plan = self.candidates.plan(drafted)
            held = np.array([model.held_rps for model in self.evaluate(plan).models])
            if (held >= asked).all() and (best is None or plan.objective < best[0].objective):
                best = plan, self.trust
            seen = np.maximum(held, LEAST_PART * asked) / self.candidates.expected_rps(plan, drafted)
            learned = np.where(
                held < asked,
                np.minimum(seen, (1.0 - LEAST_STEP) * self.trust),
                self.trust ** (1.0 - LEARNED) * seen**LEARNED,
            )
            if np.allclose(learned, self.trust, rtol=LEAST_STEP / 2):
                break
            self.trust = learned
            drafted = self._drafted()
        if best is None:
            raise InfeasibleError(
                "no plan holds the demands: their queues miss the SLOs on every fleet tried. Raise the SLOs, add "
                "devices, or ask for a lower attainment."
            )
        self.trust = best[1]
        return best[0]

    def _first(self) -> Drafted:
        """The first draft: with little of the interfaces, then with more, then trusted with more than it needs."""
        if np.isfinite(self.candidates.bound):
            for trust in FIRST_TRUST:
                self.trust = np.full(len(self.demands_rps), trust)
                for part in PLANNED_PARTS:
                    self.program = self.candidates.program(part)
                    drafted = self._drafted()
                    if drafted is not None:
                        return drafted
        raise self.candidates.no_plan()

    def with_more(self, lacks: Sequence[bool], part: float) -> Plan:
        """The cheapest plan in which the models that ``lacks`` names are trusted with less by ``part``."""
        self.trust = np.where(lacks, (1.0 - part) * self.trust, self.trust)
        drafted = self._drafted()
        if drafted is None:
            raise self.candidates.no_plan()
        return self.candidates.plan(drafted)

    def _drafted(self) -> Drafted | None:
        return self.program.draft(np.array(self.demands_rps), self.needs, self.trust, EFFORT)
