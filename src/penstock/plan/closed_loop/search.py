"""The search for the choice whose plan holds most, with a judge that measures plans.

Models meet only in the fleet, so each is learned by itself. A measured plan teaches of each model what its
choice takes (devices of each class for a request per second held), and how much of the rate that the program
counted is held. A combination's promise is what the fleet holds of the mix of all models, each with its own
choice, in the parts learned; its weights are those that give each model what it needs and no more.

1. Measure the grid, the same choice for all models; wider margins where the widest did best.
2. From the best so far, change one model's choice after another while the promise rises. Plan with that,
   measure, learn; where it is measured already, take the next best change of one model.
3. Plan the best anew, to a small gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

from penstock.errors import InfeasibleError
from penstock.plan.closed_loop.choices import Candidates, Choice, ModelChoice, Planned
from penstock.plan.closed_loop.growth import growth
from penstock.plan.planner import SearchLimits
from penstock.plan.score import Evaluate, Score
from penstock.plan.templates import F64

GRID = tuple(
    ModelChoice(*choice)
    for choice in (
        (0.3, 0.0, 2), (0.15, 0.1, 2), (0.2, 0.3, 2), (0.1, 0.0, 2), (0.05, 0.1, 2), (0.05, 0.3, 2),
        (0.05, 1.0, 2), (0.05, 0.3, 3), (0.1, 0.1, 1), (0.2, 0.1, 1),
    )
)  # fmt: skip
"""For smooth traffic. Whole models and three stages have points of their own: each wins on some fleet."""

LOOSER = tuple(
    ModelChoice(*choice)
    for choice in ((0.4, 0.3, 2), (0.4, 0.1, 1), (0.5, 0.3, 2), (0.6, 0.3, 2), (0.7, 0.1, 2))
)
"""For bursts: tried in turn where the widest margin of the grid holds most, for as long as they hold more."""

ROUNDS = 6
"""Plans measured after the grid; published instances gain little after six."""

SHARED = 4
"""Plans measured with shared pools too: the best without. Sharing gains up to a quarter and loses up to a tenth."""

WEIGHT_TOLERANCE = 0.003
"""Weights nearer than this to those of a measured plan are the same: the simulator tells no more apart."""

SEARCHED, HALVINGS = 3.0, 24
"""A promise is looked for within this logarithm of the rates held, to less than a part in a million."""

QUICK = SearchLimits(gap=2e-3, time_limit_s=2.0)
CLOSE = SearchLimits(gap=3e-4, time_limit_s=6.0)


@dataclass(frozen=True)
class Measured:
    """A plan with what it holds; ``goodput_rps`` is the least held rate / weight."""

    planned: Planned
    weights: tuple[float, ...]
    score: Score
    goodput_rps: float


@dataclass(frozen=True)
class _Lesson:
    """What one choice of one model gave: ``devices`` (classes,), the rate counted, and the rate held."""

    devices: F64
    tasted_rps: float
    held_rps: float

    def growth(self, rate_rps: float) -> float:
        """By how much the model must grow to hold ``rate_rps``."""
        return growth(rate_rps / self.held_rps)


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
        failures = [self._try_alike(one) for one in grid]
        for one in LOOSER:
            if self.measured and not self._widest_is_best():
                break
            failures.append(self._try_alike(one))
        if not all(self.lessons):
            failure = next((one for one in failures if one is not None), None)
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
        self._share()
        return self._best()

    def _try_alike(self, one: ModelChoice) -> InfeasibleError | None:
        """Measure the same choice for all models, on trust in the weights as given; why not, where it cannot be."""
        try:
            self._measure((one,) * len(self.weights), tuple(self.weights), QUICK)
        except InfeasibleError as error:  # a margin too wide for a model; the others may do
            return error
        return None

    def _share(self) -> None:
        """Measure the best plans with shared pools too. They teach nothing: such models meet not in the fleet only."""
        best: list[Measured] = []
        for one in sorted(self.measured, key=lambda one: one.goodput_rps, reverse=True):
            if not any(_are_alike(one.planned, other.planned) for other in best):
                best.append(one)
        for one in best[:SHARED]:
            shared = self.candidates.shared(one.planned)
            if shared is not None:
                score = self.evaluate(shared.plan)
                self._note(Measured(shared, one.weights, score, score.goodput(self.weights)))

    def _widest_is_best(self) -> bool:
        """Whether no plan holds more than the best of those with the widest margin."""
        widest = max(one.planned.choice[0].margin for one in self.measured)
        best_rps = self._best().goodput_rps
        return any(
            one.goodput_rps >= best_rps for one in self.measured if one.planned.choice[0].margin == widest
        )

    def _best(self) -> Measured:
        return max(self.measured, key=lambda one: one.goodput_rps)

    def _measure(self, choice: Choice, weights: tuple[float, ...], limits: SearchLimits) -> None:
        """Plan, measure, learn. The latest lesson counts: what a choice takes changes with the company."""
        planned = self.candidates.plan(choice, weights, limits)
        score = self._known_score(planned) or self.evaluate(planned.plan)
        devices = self.candidates.devices_held(planned.plan)
        for m, (one, model) in enumerate(zip(choice, score.models, strict=True)):
            if model.held_rps > 0:
                self.lessons[m][one] = _Lesson(devices[m], planned.tasted_rps[m], model.held_rps)
        self._note(Measured(planned, weights, score, score.goodput(self.weights)))

    def _note(self, found: Measured) -> None:
        self.measured.append(found)
        self.watch(found)

    def _known_score(self, planned: Planned) -> Score | None:
        """The score of a plan that came out the same for another choice."""
        return next((one.score for one in self.measured if _are_alike(one.planned, planned)), None)

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
        """What the fleet holds of the mix, in requests per second of unit weight."""
        held = [self.lessons[m][one].held_rps / self.weights[m] for m, one in enumerate(choice)]
        low, high = math.log(min(held)) - SEARCHED, math.log(max(held)) + SEARCHED
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._fits(choice, math.exp(middle)) else (low, middle)
        return math.exp(low)

    def _fits(self, choice: Choice, goodput_rps: float) -> bool:
        """Whether the fleet has the devices, in the parts learned."""
        need = sum(
            self.lessons[m][one].growth(goodput_rps * self.weights[m]) * self.lessons[m][one].devices
            for m, one in enumerate(choice)
        )
        return bool((need <= self.candidates.devices * (1 + 1e-9)).all())

    def _weights(self, choice: Choice) -> tuple[float, ...]:
        """The rates that the program must count for all to hold what is promised."""
        promise = self._promise(choice)
        lessons = [self.lessons[m][one] for m, one in enumerate(choice)]
        return tuple(
            lesson.tasted_rps * lesson.growth(promise * weight)
            for lesson, weight in zip(lessons, self.weights, strict=True)
        )

    def _is_known(self, choice: Choice, weights: tuple[float, ...]) -> bool:
        """Measured with weights in about the same proportion."""
        return any(
            one.planned.choice == choice and _spread(weights, one.weights) <= WEIGHT_TOLERANCE
            for one in self.measured
        )


def _are_alike(one: Planned, other: Planned) -> bool:
    """Whether both have the same pipelines."""
    return [m.pipelines for m in one.plan.models] == [m.pipelines for m in other.plan.models]


def _spread(these: Sequence[float], those: Sequence[float]) -> float:
    ratios = [a / b for a, b in zip(these, those, strict=True)]
    return max(ratios) / min(ratios) - 1.0
