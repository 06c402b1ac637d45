"""How good a plan turned out to be, and who can say so: the seam between planning and simulation.

The planner knows no simulator: whoever runs it hands in an :data:`Evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.plan.plan import Plan


@dataclass(frozen=True)
class ModelScore:
    """The highest rate tried at which one model held the target, with the attainment there.

    ``low_rps`` and ``high_rps``: the 95% confidence interval of the rate, over seeds. ``curve``: every (rate,
    attainment) tried, by rate.
    """

    name: str
    held_rps: float
    attainment: float
    low_rps: float
    high_rps: float
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Score:
    """One entry a model, in the plan's order."""

    models: tuple[ModelScore, ...]

    def goodput(self, weights: Sequence[float]) -> float:
        """The least held rate / weight over the models, in requests per second."""
        return min(model.held_rps / weight for model, weight in zip(self.models, weights, strict=True))


Evaluate = Callable[[Plan], Score]
"""Measures the rates that a plan holds, all its models served at once."""

Attainments = Callable[[Plan, Sequence[float]], Sequence[float]]
"""Measures each model's attainment at the given rates, all models served at once."""
