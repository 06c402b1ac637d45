"""Arrivals of several models in one time-ordered table, and what makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError

I64 = NDArray[np.int64]


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
        """Sorted times in microseconds within ``[0, seconds]``, ``rate_rps * seconds`` of them on average."""
        ...


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
