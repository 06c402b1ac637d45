"""The search for the choice whose plan holds most, with a judge that measures plans.

Models meet only in the fleet, so each is learned by itself. A measured plan teaches of each model what its
choice takes (devices of each class for a request per second held), and how much of the rate that the program
counted is held. A combination's promise is what the fleet holds of the mix of all models, each with its own
choice, in the parts learned; its weights are those that give each model what it needs and no more.

1. Measure the grid, the same choice for all models.
2. From the best so far, change one model's choice after another while the promise rises. Plan with that,
   measure, learn; where it is measured already, take the next best change of one model.
3. Plan the best anew, to a small gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.closed_loop.choices import Candidates, Choice, ModelChoice, Planned
from penstock.plan.planner import SearchLimits
from penstock.plan.score import Evaluate, Score
from penstock.plan.templates import F64

GRID = tuple(
    ModelChoice(margin, taste, stages)
    for margin, taste, stages in (
        (0.05, 0.1, 2), (0.05, 0.3, 2), (0.05, 1.0, 2), (0.1, 0.0, 2), (0.15, 0.1, 2), (0.2, 0.3, 2),
        (0.3, 0.0, 2), (0.05, 0.3, 3), (0.1, 0.1, 1), (0.2, 0.1, 1),
    )
)  # fmt: skip
"""Tight to loose. Whole models and three stages have points of their own: each wins on some fleet."""

ROUNDS = 6
"""Plans measured after the grid; published instances gain little after six."""

WEIGHT_TOLERANCE = 0.003
"""Weights nearer than this to those of a measured plan are the same: the simulator tells no more apart."""

QUICK = SearchLimits(gap=3e-3, time_limit_s=1.0)
CLOSE = SearchLimits(gap=3e-4, time_limit_s=3.0)


@dataclass(frozen=True)
class Measured:
    """A plan with what it holds; ``goodput_rps`` is the least held rate / weight."""

    planned: Planned
    weights: tuple[float, ...]
    score: Score
    goodput_rps: float


@dataclass(frozen=True)
class _Lesson:
    """``devices`` (classes,) for a request per second held; the rate ``held`` for each that the program counted."""

    devices: F64
    held: float


@final
@dataclass
class ChoiceSearch:
    """The state of one search. ``watch`` is told of every plan measured."""

    candidates: Candidates
    weights: Sequence[float]
    evaluate: Evaluate
    watch: Callable[[Measured], None] = lambda measured: None
    measured: list[Measured] = field(default_factory=list)
    lessons: list[dict[ModelChoice, _Lesson]] = field(init=False)

    def __post_init__(self) -> None:
        self.lessons = [{} for _ in self.weights]

    def run(self, grid: Sequence[ModelChoice] = GRID, rounds: int = ROUNDS) -> Measured:
        """The plan that holds most; :class:`InfeasibleError` where no choice of ``grid`` holds any rate."""
        failure = None
        for one in grid:
            try:
                self._measure((one,) * len(self.weights), tuple(self.weights), QUICK)
            except InfeasibleError as error:  # a margin too wide for a model; the others may do
                failure = failure or error
        if not all(self.lessons):
            raise failure or InfeasibleError(
                "no plan holds the target at any rate tried: the SLOs leave no room for queueing. Raise "
                "the SLOs, or ask for a lower attainment."
            )
        for _ in range(rounds):
            step = self._next()
            if step is None:
                break
            self._measure(*step, QUICK)
        best = self._best()
        self._measure(best.planned.choice, best.weights, CLOSE)
        return self._best()

    def _best(self) -> Measured:
        return max(self.measured, key=lambda one: one.goodput_rps)

    def _measure(self, choice: Choice, weights: tuple[float, ...], limits: SearchLimits) -> None:
        """Plan, measure, learn. The latest lesson counts: what a choice takes changes with the company."""
        planned = self.candidates.plan(choice, weights, limits)
        score = self._known_score(planned) or self.evaluate(planned.plan)
        devices = self.candidates.devices_held(planned.plan)
        for m, (one, model) in enumerate(zip(choice, score.models, strict=True)):
            if model.held_rps > 0:
                lesson = _Lesson(devices[m] / model.held_rps, model.held_rps / planned.tasted_rps[m])
                self.lessons[m][one] = lesson
        found = Measured(planned, weights, score, score.goodput(self.weights))
        self.measured.append(found)
        self.watch(found)

    def _known_score(self, planned: Planned) -> Score | None:
        """The score of a plan that came out the same for another choice."""
        pipelines = [model.pipelines for model in planned.plan.models]
        for one in self.measured:
            if [model.pipelines for model in one.planned.plan.models] == pipelines:
                return one.score
        return None

    def _next(self) -> tuple[Choice, tuple[float, ...]] | None:
        """The most promising combination that is not measured yet, with its weights."""
        start = self._best().planned.choice
        peak = self._climb(start)
        near = {peak, *self._changes(peak), *self._changes(start)}
        for choice in sorted(near, key=self._promise, reverse=True):
            weights = self._weights(choice)
            if not self._is_known(choice, weights):
                return choice, weights
        return None

    def _climb(self, choice: Choice) -> Choice:
        """Change one model at a time while the promise rises."""
        while True:
            better = max(self._changes(choice), key=self._promise, default=choice)
            if self._promise(better) <= self._promise(choice):
                return choice
            choice = better

    def _changes(self, choice: Choice) -> list[Choice]:
        """The combinations that differ for one model, among the choices learned for it."""
        return [
            (*choice[:m], other, *choice[m + 1 :])
            for m, own in enumerate(self.lessons)
            for other in own
            if other != choice[m]
        ]

    def _promise(self, choice: Choice) -> float:
        """What the fleet holds of the mix, in requests per second; classes that nothing needs do not limit it."""
        need = sum(
            weight * self.lessons[m][one].devices
            for m, (weight, one) in enumerate(zip(self.weights, choice, strict=True))
        )
        devices = self.candidates.devices
        return float((devices / np.maximum(need, 1e-12 * devices.max())).min())

    def _weights(self, choice: Choice) -> tuple[float, ...]:
        return tuple(
            weight / self.lessons[m][one].held
            for m, (weight, one) in enumerate(zip(self.weights, choice, strict=True))
        )

    def _is_known(self, choice: Choice, weights: tuple[float, ...]) -> bool:
        """Measured with weights in about the same proportion."""
        return any(
            one.planned.choice == choice and _spread(weights, one.weights) <= WEIGHT_TOLERANCE
            for one in self.measured
        )


def _spread(these: Sequence[float], those: Sequence[float]) -> float:
    ratios = [a / b for a, b in zip(these, those, strict=True)]
    return max(ratios) / min(ratios) - 1.0
