"""Renewal processes: independent gaps, Poisson, gamma and lognormal.

Times are summed in float and rounded once. Rounding each gap would change the rate: by half a percent at 6,000
requests a second, if gaps were cut to whole microseconds.

All are stationary: the first gap is what remains of a gap that began before time 0, which is a uniform share of
a length-biased gap (Feller, An Introduction to Probability Theory II, section XI.4). The mean count is therefore
``rate_rps * seconds`` exactly, however short the window.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import check_draw
from penstock.units import US_PER_S

MOST_CV = 100.0
"""Beyond it, arrivals come in groups of more than ten thousand (cv squared), and few runs are long enough for two
groups."""


def poisson(rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
    """Exponential gaps: arrivals without memory, at ``rate_rps`` over ``seconds``, in microseconds."""
    return gamma(rate_rps, seconds, rng, cv=1.0)


def gamma(rate_rps: float, seconds: float, rng: np.random.Generator, *, cv: float) -> I64:
    """Gamma gaps with coefficient of variation ``cv``: 1 is Poisson, above it bursty.

    Raises :class:`BadInputError` for a rate or duration below 0 or a ``cv`` not in (0, 100].
    """
    check_cv(cv)
    check_draw(rate_rps, seconds)
    if rate_rps == 0:
        return np.zeros(0, np.int64)
    shape = 1.0 / (cv * cv)
    scale_s = 1.0 / (rate_rps * shape)
    first_s = rng.random() * rng.gamma(shape + 1.0, scale_s)
    return _until(seconds, first_s, rate_rps, lambda size: rng.gamma(shape, scale_s, size))


def lognormal(rate_rps: float, seconds: float, rng: np.random.Generator, *, cv: float) -> I64:
    """Lognormal gaps with coefficient of variation ``cv``: a heavier tail than gamma at the same ``cv``.

    ``sigma = sqrt(ln(1 + cv^2))`` is the deviation of the gap's logarithm, and ``ln(1 / rate) - sigma^2 / 2`` its
    mean. Raises :class:`BadInputError` as :func:`gamma` does.
    """
    check_cv(cv)
    check_draw(rate_rps, seconds)
    if rate_rps == 0:
        return np.zeros(0, np.int64)
    variance = math.log1p(cv * cv)
    sigma = math.sqrt(variance)
    mean_log_s = -math.log(rate_rps) - variance / 2
    # The length-biased lognormal is a lognormal whose mean log is larger by sigma^2.
    first_s = rng.random() * rng.lognormal(mean_log_s + variance, sigma)
    return _until(seconds, first_s, rate_rps, lambda size: rng.lognormal(mean_log_s, sigma, size))


def cv_of_sigma(sigma: float) -> float:
    """The coefficient of variation of a lognormal gap whose logarithm deviates by ``sigma``."""
    return math.sqrt(math.expm1(sigma * sigma))


def check_cv(cv: float) -> None:
    """Raise :class:`BadInputError` unless ``cv`` lies in (0, 100]."""
    if not 0 < cv <= MOST_CV:
        raise BadInputError(
            f"cv (={cv:g}) must be a number > 0 and at most {MOST_CV:g}: 1 is Poisson, 4 is very bursty."
        )


def _until(seconds: float, first_s: float, rate_rps: float, draw_gaps: Callable[[int], F64]) -> I64:
    """Arrival times below ``seconds``, drawn in chunks until they pass it."""
    chunk = int(rate_rps * seconds * 1.05) + 64
    times = [np.array([first_s])]
    while times[-1][-1] < seconds:
        times.append(times[-1][-1] + np.cumsum(draw_gaps(chunk)))
    arrivals = np.concatenate(times)
    whole_us: I64 = np.rint(arrivals[arrivals < seconds] * US_PER_S).astype(np.int64)
    return whole_us
