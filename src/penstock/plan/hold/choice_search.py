"""The search for the choice whose plan holds the highest rates. A judge measures the plans.

Models affect each other only through the fleet, so the search learns about each model separately. From a measured
plan it learns two things about each model's choice: which devices it uses (of each class, per request per second
held), and which part of the rate that the program counted is held. A combination gives each model its own choice. Its
predicted goodput is how much of the mix of all models the fleet then holds, as computed from what was learned. Its
weights are those that give each model exactly what it needs.

1. Measure the grid, with the same choice for all models. If the widest margin did best, measure wider margins too. If
   the scenario allows split stages, measure the best of these with split stages too.
2. From the best combination so far, change one model's choice at a time, as long as the predicted goodput rises.
   Plan with the result, measure and learn. If it is already measured, use the next best change of one model.
3. Make the plan of the best combination again, to a small gap.
4. Judge the best plans again on more runs, then the best of these on still more (successive elimination: Even-Dar,
   Mannor, Mansour, "Action elimination and stopping conditions", JMLR 2006). A judge uses the same random numbers for
   all plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import final

from penstock.arrays import F64
from penstock.errors import InfeasibleError
from penstock.plan.hold.choices import Candidates, Choice, ModelChoice, Planned
from penstock.plan.hold.growth import growth
from penstock.plan.interfaces import Evaluate, Judge, Score, SearchLimits

GRID = tuple(
    ModelChoice(*choice)
    for choice in (
        (0.3, 0.0, 2), (0.15, 0.1, 2), (0.2, 0.3, 2), (0.1, 0.0, 2), (0.05, 0.1, 2), (0.05, 0.3, 2),
        (0.05, 1.0, 2), (0.05, 0.3, 3), (0.1, 0.1, 1), (0.2, 0.1, 1),
    )
)  # fmt: skip
"""For smooth traffic. Some points are for whole models and three stages, because each is best on some fleet."""

LOOSER = tuple(
    ModelChoice(*choice)
    for choice in ((0.4, 0.3, 2), (0.4, 0.1, 1), (0.5, 0.3, 2), (0.6, 0.3, 2), (0.7, 0.1, 2))
)
"""For bursts. They are tried in turn if the widest margin of the grid is best, as long as they hold more."""

ROUNDS = 6
"""Plans measured after the grid. Published instances gain little after six."""

SPLIT = 4
"""How many of the best choices are also measured with split stages, if the scenario allows them."""

SHARED = 4
"""How many of the best plans are also measured with lent and with shared pools. Sharing gains up to 25% and loses up to
14%, lending gains up to 10% and loses up to 0.4%."""

KEPT = (6, 3)
"""How many plans the first and each later judge get. The search's own measurements are off by some per cent."""

WEIGHT_TOLERANCE = 0.003
"""Weights that differ from a measured plan's by less than this count as equal: the simulator sees no difference."""

SEARCHED, HALVINGS = 3.0, 24
"""The predicted goodput is searched within this logarithm of the rates held, to less than one millionth."""

QUICK = SearchLimits(gap=2e-3, time_limit_s=2.0)
CLOSE = SearchLimits(gap=3e-4, time_limit_s=6.0)


@dataclass(frozen=True)
class Measured:
    """A plan with the rates that it holds. ``goodput_rps`` is the least held rate / weight."""

    planned: Planned
    weights: tuple[float, ...]
    score: Score
    goodput_rps: float


@dataclass(frozen=True)
class _Observation:
    """The result of one choice of one model: ``devices`` (classes,), the rate counted, and the rate held."""

    devices: F64
    weighted_rps: float
    held_rps: float

    def growth(self, rate_rps: float) -> float:
        """The factor by which the model must grow to hold ``rate_rps``."""
        return growth(rate_rps / self.held_rps)


@final
@dataclass
class ChoiceSearch:
    """The state of one search. ``watch`` is called with every plan measured.

    ``judges``: from few runs to many. Without them the search's own measurements decide.
    """

    candidates: Candidates
    weights: Sequence[float]
    evaluate: Evaluate
    watch: Callable[[Measured], None] = lambda measured: None
    judges: Sequence[Judge] = ()
    measured: list[Measured] = field(default_factory=list)
    refused: list[tuple[Choice, tuple[float, ...]]] = field(default_factory=list)
    observations: list[dict[ModelChoice, _Observation]] = field(init=False)

    def __post_init__(self) -> None:
        self.observations = [{} for _ in self.weights]

    def run(self, grid: Sequence[ModelChoice] = GRID, rounds: int = ROUNDS) -> Measured:
        """The plan that holds most. Raises :class:`InfeasibleError` if no choice of ``grid`` holds any rate."""
        failures = [self._try_alike(one) for one in grid]
        for one in LOOSER:
            if self.measured and not self._widest_is_best():
                break
            failures.append(self._try_alike(one))
        if self.measured and self.candidates.splits:
            failures += [self._try_alike(one) for one in self._best_to_split()]
        if not all(self.observations):
            failure = next((one for one in failures if one is not None), None)
            raise failure or InfeasibleError(
                "no plan holds the target at any rate tried: the SLOs leave no time for queueing. Raise "
                "the SLOs, or ask for a lower attainment."
            )
        for _ in range(rounds):
            step = self._next()
            if step is None:
                break
            self._try(*step, QUICK)
        best = self._best()
        self._try(best.planned.choice, best.weights, CLOSE)
        self._share()
        return self._eliminate()

    def _try(self, choice: Choice, weights: tuple[float, ...], limits: SearchLimits) -> None:
        """Measure if a plan is found. The solver may find none in its time, though the choices had plans alone."""
        try:
            self._measure(choice, weights, limits)
        except InfeasibleError:
            self.refused.append((choice, weights))

    def _eliminate(self) -> Measured:
        """The best plan by the last judge. Each judge measures the best plans of the one before."""
        ranked = self._distinct()
        for number, judge in enumerate(self.judges):
            kept = ranked[: KEPT[min(number, len(KEPT) - 1)]]
            ranked = []
            for one in kept:
                score = judge(one.planned.plan, one.score)
                ranked.append(replace(one, score=score, goodput_rps=score.goodput(self.weights)))
                self.watch(ranked[-1])
            ranked.sort(key=lambda one: one.goodput_rps, reverse=True)
        return ranked[0]

    def _distinct(self) -> list[Measured]:
        """Every measured plan once, from the best to the worst."""
        best: list[Measured] = []
        for one in sorted(self.measured, key=lambda one: one.goodput_rps, reverse=True):
            if not any(
                _are_alike(one.planned, other.planned)
                and one.planned.plan.shared_pools == other.planned.plan.shared_pools
                and one.planned.plan.lent_pools == other.planned.plan.lent_pools
                for other in best
            ):
                best.append(one)
        return best

    def _try_alike(self, one: ModelChoice) -> InfeasibleError | None:
        """Measure the same choice for all models, with the given weights. Returns the error if it is not possible."""
        try:
            self._measure((one,) * len(self.weights), tuple(self.weights), QUICK)
        except InfeasibleError as error:  # the margin is too wide for some model; other choices may work
            return error
        return None

    def _best_to_split(self) -> list[ModelChoice]:
        """The best choices of several stages, with split stages."""
        best = [one.planned.choice[0] for one in self._distinct() if one.planned.choice[0].stages > 1]
        return [replace(one, split=True) for one in best[:SPLIT]]

    def _share(self) -> None:
        """Measure the best plans with lent and with shared pools too.

        Their results are not used for later predictions: models that share pools also compete inside the pool, which
        the prediction ignores.
        """
        for one, lent in product(self._distinct()[:SHARED], (True, False)):
            shared = self.candidates.shared(one.planned, lent=lent)
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
        """Plan, measure and learn. The latest observation counts: what a choice uses depends on the other choices."""
        planned = self.candidates.plan(choice, weights, limits)
        score = self._known_score(planned) or self.evaluate(planned.plan)
        devices = self.candidates.devices_held(planned.plan)
        for m, (one, model) in enumerate(zip(choice, score.models, strict=True)):
            if model.held_rps > 0:
                self.observations[m][one] = _Observation(devices[m], planned.weighted_rps[m], model.held_rps)
        self._note(Measured(planned, weights, score, score.goodput(self.weights)))

    def _note(self, found: Measured) -> None:
        self.measured.append(found)
        self.watch(found)

    def _known_score(self, planned: Planned) -> Score | None:
        """The score of an equal plan that another choice gave."""
        return next((one.score for one in self.measured if _are_alike(one.planned, planned)), None)

    def _next(self) -> tuple[Choice, tuple[float, ...]] | None:
        """The combination with the highest predicted goodput that is not measured yet, with its weights."""
        start = self._best().planned.choice
        peak = self._climb(start)
        near = {peak, *self._changes(peak), *self._changes(start)}
        for choice in sorted(near, key=self._predicted_goodput, reverse=True):
            weights = self._weights(choice)
            if not self._is_known(choice, weights):
                return choice, weights
        return None

    def _climb(self, choice: Choice) -> Choice:
        """Change one model at a time as long as the predicted goodput rises."""
        while True:
            better = max(self._changes(choice), key=self._predicted_goodput, default=choice)
            if self._predicted_goodput(better) <= self._predicted_goodput(choice):
                return choice
            choice = better

    def _changes(self, choice: Choice) -> list[Choice]:
        """The combinations that differ for one model, among the choices that were measured for it."""
        return [
            (*choice[:m], other, *choice[m + 1 :])
            for m, own in enumerate(self.observations)
            for other in own
            if other != choice[m]
        ]

    def _predicted_goodput(self, choice: Choice) -> float:
        """How much of the mix the fleet holds, in requests per second of unit weight."""
        held = [self.observations[m][one].held_rps / self.weights[m] for m, one in enumerate(choice)]
        low, high = math.log(min(held)) - SEARCHED, math.log(max(held)) + SEARCHED
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._fits(choice, math.exp(middle)) else (low, middle)
        return math.exp(low)

    def _fits(self, choice: Choice, goodput_rps: float) -> bool:
        """Whether the fleet has enough devices, by the parts learned."""
        need = sum(
            self.observations[m][one].growth(goodput_rps * self.weights[m])
            * self.observations[m][one].devices
            for m, one in enumerate(choice)
        )
        return bool((need <= self.candidates.devices * (1 + 1e-9)).all())

    def _weights(self, choice: Choice) -> tuple[float, ...]:
        """The rates that the program must count so that all models hold the predicted goodput."""
        predicted_goodput_rps = self._predicted_goodput(choice)
        observations = [self.observations[m][one] for m, one in enumerate(choice)]
        return tuple(
            observation.weighted_rps * observation.growth(predicted_goodput_rps * weight)
            for observation, weight in zip(observations, self.weights, strict=True)
        )

    def _is_known(self, choice: Choice, weights: tuple[float, ...]) -> bool:
        """Whether it was measured with weights in about the same proportion."""
        known = [(one.planned.choice, one.weights) for one in self.measured] + self.refused
        return any(other == choice and _spread(weights, own) <= WEIGHT_TOLERANCE for other, own in known)


def _are_alike(one: Planned, other: Planned) -> bool:
    """Whether both have the same pipelines."""
    return [m.pipelines for m in one.plan.models] == [m.pipelines for m in other.plan.models]


def _spread(these: Sequence[float], those: Sequence[float]) -> float:
    ratios = [a / b for a, b in zip(these, those, strict=True)]
    return max(ratios) / min(ratios) - 1.0
