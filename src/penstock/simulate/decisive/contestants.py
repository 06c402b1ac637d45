"""Who meets in the test, and by which rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.interval import Interval, student_quantile
from penstock.traffic.arrivals import ArrivalProcess, ArrivalSource

AnyLoad = ArrivalProcess | ArrivalSource


@dataclass(frozen=True)
class Contestant:
    """A load by name; ``hours`` has one load for each independent hour, or one that serves for all.

    ``role``: ``real`` (the reference), ``other real``, ``generated``, ``shuffled`` (gaps of the real one, in any
    order), or ``plain`` (Poisson, gamma).
    """

    name: str
    role: str
    hours: Sequence[AnyLoad]

    def of_run(self, run: int) -> AnyLoad:
        """The load of run ``run``: the hours take turns."""
        return self.hours[run % len(self.hours)]


@dataclass(frozen=True)
class Rules:
    """``seconds`` of arrivals a run. Runs go on until every interval's half-width is ``half_width`` of the real
    figure."""

    policy: str = "reservation"
    seconds: float = 600.0
    target: float = 0.99
    tolerance: float = 0.003
    half_width: float = 0.015
    fewest_runs: int = 5
    most_runs: int = 40
    noise: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.fewest_runs <= self.most_runs:
            raise BadInputError(
                f"runs: at least {self.fewest_runs}, at most {self.most_runs}: the first must be 2 or more, and the "
                f"second no less."
            )


@dataclass(frozen=True)
class Outcome:
    """``held`` (runs,): the load factor that the plan held in each run. ``error``: against the real load, as a
    share."""

    contestant: Contestant
    held: F64
    error: Interval


def over_folds(folds: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """One outcome for each contestant: its error is the mean size of those in all folds, with the interval of that
    mean."""
    return [
        Outcome(
            ones[0].contestant,
            np.concatenate([one.held for one in ones]),
            Interval(
                float(np.mean([abs(one.error.mean) for one in ones])),
                float(np.sqrt(np.sum(np.square([one.error.half_width for one in ones])))) / len(ones),
            ),
        )
        for ones in zip(*folds, strict=True)
    ]


def relative_error(held: F64, real: F64) -> Interval:
    """``mean(held) / mean(real) - 1`` with its 95% interval, for runs in pairs.

    The interval is that of the ratio of two means, to first order (Cochran, Sampling Techniques, section 6.4).
    """
    ratio = held.mean() / real.mean()
    spread = (held - ratio * real).std(ddof=1) / np.sqrt(len(real)) / real.mean()
    return Interval(float(ratio - 1), float(student_quantile(0.95, len(real) - 1) * spread))
