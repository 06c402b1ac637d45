"""Arrivals of several models in one time-ordered table, and what makes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError

MOST_ARRIVALS = 500_000_000
"""Of one draw, on average: 4 GB of times. More is probably a mistake in the units, and would not fit in memory."""

LONGEST_S = 366 * 86_400
"""Of a run or a trace. A later time is probably a mistake in the units."""


@dataclass(frozen=True)
class Arrivals:
    """Requests in order of arrival: int64 columns of one length; ``model`` is an index from 0.

    ``slo_us`` is each request's own SLO; if it is None, the SLO of the model applies. ``stream`` numbers whose request
    it is; None if the load has no streams. Raises :class:`BadInputError` for times that are negative or go back, and
    for columns of different lengths.
    """

    arrival_us: I64
    model: I64
    slo_us: I64 | None = None
    stream: I64 | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.arrival_us), len(self.model)}
        lengths |= {len(column) for column in (self.slo_us, self.stream) if column is not None}
        if len(lengths) != 1:
            raise BadInputError(f"arrivals: columns have lengths {sorted(lengths)}: give one row a request.")
        if len(self.arrival_us) and (self.arrival_us[0] < 0 or np.any(np.diff(self.arrival_us) < 0)):
            raise BadInputError("arrivals: times must be >= 0 and in order: sort them first.")
        if np.any(self.model < 0):
            raise BadInputError(
                f"arrivals: model (={int(self.model.min())}) must be >= 0: number models from 0."
            )

    def __len__(self) -> int:
        """The number of requests."""
        return len(self.arrival_us)


class ArrivalProcess(Protocol):
    """Draws the arrival times of one model."""

    def __call__(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
        """Sorted times in microseconds within ``[0, seconds]``, ``rate_rps * seconds`` of them on average.

        Everything random comes from ``rng``. Raises :class:`BadInputError` as :func:`check_draw` does.
        """
        ...


@runtime_checkable
class ArrivalSource(Protocol):
    """Draws the arrivals of all models together, for streams that ask several models and for users that act
    together."""

    def draw(self, rates_rps: Sequence[float], seconds: float, rng: np.random.Generator) -> Arrivals:
        """Arrivals in [0, ``seconds``], ``sum(rates_rps) * seconds`` of them on average, with their streams.

        Everything random comes from ``rng``; the same ``rng`` at another rate gives more or fewer of the same
        streams.
        """
        ...

    def streams_for(self, rates_rps: Sequence[float]) -> float:
        """How many streams make up the load at these rates, in the mean; 0 if it does not consist of streams. With n
        of them, the load's swings are smaller by sqrt(n)."""
        ...

    def own_rate_rps(self) -> float | None:
        """The rate of all models together, if the load has one of its own; None if it follows the rates asked for."""
        ...


def check_draw(rate_rps: float, seconds: float) -> None:
    """Raise :class:`BadInputError` unless a process can be drawn at ``rate_rps`` over ``seconds``."""
    if not (rate_rps >= 0 and math.isfinite(rate_rps)):
        raise BadInputError(f"rate_rps (={rate_rps:g}) must be a number >= 0. Give requests per second.")
    if not (seconds > 0 and math.isfinite(seconds)):
        raise BadInputError(f"seconds (={seconds:g}) must be a number > 0. Give the length of the run.")
    if seconds > LONGEST_S:
        raise BadInputError(f"seconds (={seconds:g}) must be at most {LONGEST_S:,}, a year. Shorten the run.")
    if rate_rps * seconds > MOST_ARRIVALS:
        raise BadInputError(
            f"{rate_rps:g} requests a second over {seconds:g} s are {rate_rps * seconds:g} arrivals, but one draw "
            f"holds at most {MOST_ARRIVALS:,}. Lower the rate or the time."
        )


def draw_arrivals(
    process: ArrivalProcess | ArrivalSource,
    rates_rps: Sequence[float],
    seconds: float,
    rng: np.random.Generator,
) -> Arrivals:
    """Arrivals of every model at its own rate, each from its own stream of random numbers.

    One model's traffic does not change with another's rate. At equal times the lower model comes first. An
    :class:`ArrivalSource` draws all models itself.
    """
    if isinstance(process, ArrivalSource):
        return process.draw(rates_rps, seconds, rng)
    return merged_arrivals(
        [process(rate, seconds, own) for rate, own in zip(rates_rps, rng.spawn(len(rates_rps)), strict=True)]
    )


def merged_arrivals(times_us: Sequence[I64]) -> Arrivals:
    """One table of the sorted times of each model. At equal times the lower model comes first."""
    arrival_us = np.concatenate([np.zeros(0, np.int64), *times_us])
    model = np.repeat(np.arange(len(times_us), dtype=np.int64), [len(times) for times in times_us])
    order = np.argsort(arrival_us, kind="stable")
    return Arrivals(arrival_us[order], model[order])
