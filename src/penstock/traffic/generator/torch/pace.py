"""How long a training lasts, its rate of learning, and over how many steps its weights are averaged.

The rate is a cosine over the budget, or a line to 0 once training cools. The average is exponential; of a network that
cools it reaches over most of the cooling (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
Generalization", UAI 2018): what is drawn then is nearer to real streams than of a shorter average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock.errors import BadInputError
from penstock.traffic.generator.torch.selection import Clock

MOST_STEPS = 10_000_000
"""Whatever the budget: the loop is bounded."""

COOLING = 0.25
"""Steps of cooling, of the steps before it."""

AVERAGED = 2 / 3
"""Steps over which weights are averaged while training cools, of its steps of cooling."""


@dataclass(frozen=True)
class Recipe:
    """How to train. Exactly one of ``seconds`` (process CPU seconds; wall seconds on a GPU) and ``steps`` is given.

    Only ``steps`` makes the weights a function of the seed: how many steps fit in a time depends on the machine.
    """

    seconds: float | None = 300.0
    steps: int | None = None
    rate: float = 3e-3
    tokens: int = 3072
    average: float = 0.99
    clip: float = 1.0
    warm_up: float = 0.01
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise BadInputError("training: give either a time or a number of steps.")
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise BadInputError(f"training: steps (={self.steps}) must be 1 to {MOST_STEPS:,}.")
        if self.seconds is not None and not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise BadInputError(f"training: the time (={self.seconds:g} s) must be above 0.")


class Pace:
    """The share of the budget that is spent, and the rate."""

    def __init__(self, recipe: Recipe, clock: Clock) -> None:
        self._recipe, self._clock = recipe, clock
        self._begin, self._count, self._from = 0, 0, (0.0, 0.0)

    @property
    def cooling(self) -> bool:
        """Whether the rate falls to 0."""
        return self._count > 0

    def cool(self, steps: int) -> None:
        """Let the rate fall to 0 from now, after ``steps``, and training end with it; within the budget."""
        done = self.done(steps)
        left = steps * (1.0 - done) / done
        self._from = (done, self.rate(steps))
        self._begin, self._count = steps, max(1, int(min(COOLING * steps, left)))

    def done(self, steps: int) -> float:
        """The share that is spent after ``steps``; 1 ends training."""
        if self.cooling:
            return self._from[0] + (1.0 - self._from[0]) * self._cooled(steps)
        if self._recipe.steps is not None:
            return steps / self._recipe.steps
        return self._clock.seconds() / float(self._recipe.seconds or 1.0)

    def rate(self, steps: int) -> float:
        """Of learning, for the step after ``steps``."""
        if self.cooling:
            return self._from[1] * (1.0 - self._cooled(steps))
        done, warm_up = min(self.done(steps), 1.0), self._recipe.warm_up
        rise = min(1.0, (done + 1e-3) / warm_up) if warm_up else 1.0
        return self._recipe.rate * rise * 0.5 * (1.0 + math.cos(math.pi * done))

    def newest(self, steps: int) -> float:
        """The share of the newest weights in the average, after ``steps``."""
        if self.cooling:
            return min(1.0, 1.0 / (AVERAGED * self._count))
        # Early on, the plain average forgets the random start sooner than the exponential one.
        return max(1.0 - self._recipe.average, 1.0 / (steps + 1))

    def seconds_left(self, steps: int) -> float:
        """About, from the seconds that were spent on ``steps``."""
        spent, done = self._clock.seconds(), self.done(steps)
        if self.cooling:
            return spent / max(steps, 1) * (self._begin + self._count - steps)
        return max(spent / done - spent, 0.0) if done > 0 else 0.0

    def _cooled(self, steps: int) -> float:
        return (steps - self._begin) / self._count
