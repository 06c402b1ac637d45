"""Arrivals of several models in one time-ordered table, and what makes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

MOST_ARRIVALS = 500_000_000
"""Of one draw, on average: 4 GB of times. More is a slip of units, and would end in an error of memory."""

LONGEST_S = 366 * 86_400
"""Of a run or a trace: a time beyond it is a slip of units."""


@dataclass(frozen=True)
class Arrivals:
    """Requests in order of arrival: int64 columns of one length; ``model`` is an index from 0.

    ``slo_us`` is each request's own SLO; None leaves it to the model's. Raises :class:`BadInputError` for times
    that are negative or go back, and for columns of different lengths.
    """

    arrival_us: I64
    model: I64
    slo_us: I64 | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.arrival_us), len(self.model)}
        if self.slo_us is not None:
            lengths.add(len(self.slo_us))
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
    process: ArrivalProcess, rates_rps: Sequence[float], seconds: float, rng: np.random.Generator
) -> Arrivals:
    """Arrivals of every model at its own rate, each from its own stream of random numbers.

    One model's traffic does not change with another's rate. At equal times the lower model comes first.
    """
    times = [
        process(rate, seconds, own) for rate, own in zip(rates_rps, rng.spawn(len(rates_rps)), strict=True)
    ]
    arrival_us = np.concatenate([np.zeros(0, np.int64), *times])
    model = np.repeat(np.arange(len(times), dtype=np.int64), [len(t) for t in times])
    order = np.argsort(arrival_us, kind="stable")
    return Arrivals(arrival_us[order], model[order])
