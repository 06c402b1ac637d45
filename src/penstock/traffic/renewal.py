"""Renewal processes: independent gaps, Poisson and gamma.

Times are summed in float and rounded once. Rounding each gap would change the rate: by half a
percent at 6,000 requests a second, were gaps cut to whole microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.arrivals import I64
from penstock.units import US_PER_S


def poisson(rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
    """Exponential gaps: arrivals without memory, at ``rate_rps`` over ``seconds``, in microseconds."""
    return gamma(rate_rps, seconds, rng, cv=1.0)


def gamma(rate_rps: float, seconds: float, rng: np.random.Generator, *, cv: float) -> I64:
    """Gamma gaps with coefficient of variation ``cv``: 1 is Poisson, above it bursty.

    The process is stationary: the first gap is what remains of a gap that began before time 0 (for gamma,
    a uniform share of a length-biased gap), so that the mean count is ``rate_rps * seconds`` exactly.
    Raises :class:`BadInputError` for a rate or duration below 0 or a ``cv`` not above 0.
    """
    if not (cv > 0 and math.isfinite(cv)):
        raise BadInputError(f"cv (={cv:g}) must be a number > 0: 1 is Poisson, 4 is very bursty.")
    if not (rate_rps >= 0 and math.isfinite(rate_rps)):
        raise BadInputError(f"rate_rps (={rate_rps:g}) must be a number >= 0.")
    if not (seconds > 0 and math.isfinite(seconds)):
        raise BadInputError(f"seconds (={seconds:g}) must be a number > 0.")
    if rate_rps == 0:
        return np.zeros(0, np.int64)
    shape = 1.0 / (cv * cv)
    scale_s = 1.0 / (rate_rps * shape)
    first_s = rng.random() * rng.gamma(shape + 1.0, scale_s)
    return _until(seconds, first_s, rate_rps, lambda size: rng.gamma(shape, scale_s, size))


def _until(
    seconds: float, first_s: float, rate_rps: float, draw_gaps: Callable[[int], NDArray[np.float64]]
) -> I64:
    """Arrival times below ``seconds``, drawn in chunks until they pass it."""
    chunk = int(rate_rps * seconds * 1.05) + 64
    times = [np.array([first_s])]
    while times[-1][-1] < seconds:
        times.append(times[-1][-1] + np.cumsum(draw_gaps(chunk)))
    arrivals = np.concatenate(times)
    whole_us: I64 = np.rint(arrivals[arrivals < seconds] * US_PER_S).astype(np.int64)
    return whole_us
