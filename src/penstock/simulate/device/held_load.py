"""The largest load of one device at which enough jobs meet their deadlines, by set-up.

Load is the rate times the mean time alone of a job: at 1 the device is busy all the time if jobs only take
turns. The same draws of arrivals, stretched to each rate, judge every load and every set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.simulate.device.device_record import DeviceRecord
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import JobArrivals, SharedModel, draw_jobs, mean_own_us
from penstock.simulate.device.setups import Setup
from penstock.units import US_PER_S


@final
@dataclass(frozen=True)
class Judge:
    """Runs set-ups on the same draws. ``draws`` are at any rate; each run scales them."""

    models: Sequence[SharedModel]
    draws: tuple[JobArrivals, ...]
    device: Interference

    @staticmethod
    def drawn(
        models: list[SharedModel],
        device: Interference,
        *,
        jobs: int,
        seeds: Sequence[int],
        sigma: float | None = None,
    ) -> Judge:
        """A judge with one draw a seed."""
        draws = [draw_jobs(models, 1.0, jobs, np.random.default_rng(seed), sigma=sigma) for seed in seeds]
        return Judge(models, tuple(draws), device)

    def rate_rps(self, load: float) -> float:
        """The rate of that load."""
        return load * US_PER_S / mean_own_us(list(self.models))

    def records(self, setup: Setup, load: float) -> list[DeviceRecord]:
        """One run a draw."""
        rate_rps = self.rate_rps(load)
        return [setup.run(self.models, draw.at_rate(rate_rps), self.device) for draw in self.draws]

    def attainment(self, setup: Setup, load: float) -> tuple[float, float]:
        """Of all jobs, and of the model with the lowest, over all draws together."""
        records = self.records(setup, load)
        over_all = fmean(record.attainment() for record in records)
        return over_all, min(pooled_attainment(records))

    def held_loads(self, setup: Setup, target: float, *, tolerance: float = 0.01) -> tuple[float, float]:
        """The largest loads that hold ``target`` of all jobs, and of every model, to ``tolerance``; 0 if none does.

        Raises :class:`BadInputError` for a target outside (0, 1).
        """
        if not 0 < target < 1:
            raise BadInputError(f"target (={target}) must lie between 0 and 1: 0.99 is 99% of the jobs.")
        tried: dict[float, tuple[float, float]] = {}

        def holds(load: float, which: int) -> bool:
            if load not in tried:
                tried[load] = self.attainment(setup, load)
            return tried[load][which] >= target

        return (
            largest_that_holds(lambda load: holds(load, 0), tolerance),
            largest_that_holds(lambda load: holds(load, 1), tolerance),
        )


def pooled_attainment(records: Sequence[DeviceRecord]) -> list[float]:
    """The attainment of each model over all runs together."""
    models = range(len(records[0].names))
    met = [sum(np.sum((r.end_us <= r.deadline_us) & (r.model == model)) for r in records) for model in models]
    here = [sum(np.sum(r.model == model) for r in records) for model in models]
    return [float(ok / count) if count else 1.0 for ok, count in zip(met, here, strict=True)]


FIRST, STEP, LAST = 0.3, 0.2, 1.5
"""Loads that are walked up; most orders hold 0.3."""
LEAST = 0.02


def largest_that_holds(holds: Callable[[float], bool], tolerance: float) -> float:
    """The end of the first stretch of loads that hold, walked up and then bisected; 0 if the least load fails.

    A walk first, as attainment is not monotone in the load when a model has few jobs.
    """
    if holds(FIRST):
        low, high = FIRST, FIRST + STEP
        while high <= LAST and holds(high):
            low, high = high, round(high + STEP, 6)
    elif holds(LEAST):
        low, high = LEAST, FIRST
    else:
        return 0.0
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
