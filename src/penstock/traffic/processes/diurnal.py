"""A daily rise and fall: Poisson with a sinusoidal rate, drawn exactly by thinning (Lewis and Shedler 1979).

For a given shape, hour by hour, see :class:`penstock.traffic.processes.modulated.SteppedShape`.
"""

from __future__ import annotations

import math

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import check_draw
from penstock.units import US_PER_S


def diurnal(
    rate_rps: float,
    seconds: float,
    rng: np.random.Generator,
    *,
    amplitude: float,
    period_s: float,
    start_s: float | None = None,
) -> I64:
    """Sorted times in microseconds at rate ``rate_rps * (1 - amplitude * cos(2 pi t / period_s))``.

    ``t`` is 0 at the trough. Windows begin at ``start_s``; None draws a new start for each window, uniform. That makes
    the process stationary and its mean rate exact over windows of any length. Raises :class:`BadInputError` for an
    amplitude outside [0, 1], a period that is not > 0, or a bad draw.
    """
    check_diurnal(amplitude, period_s)
    check_draw(rate_rps, seconds)
    begin_s = rng.random() * period_s if start_s is None else start_s
    # Candidates at the peak rate, each kept with the share of the peak that its moment has.
    candidates_s = np.sort(rng.random(rng.poisson(rate_rps * (1 + amplitude) * seconds))) * seconds
    level = 1 - amplitude * np.cos((candidates_s + begin_s) * (2 * math.pi / period_s))
    kept_s = candidates_s[rng.random(len(candidates_s)) * (1 + amplitude) < level]
    times_us: I64 = np.rint(kept_s * US_PER_S).astype(np.int64)
    return times_us


def check_diurnal(amplitude: float, period_s: float) -> None:
    """Raise :class:`BadInputError` unless the two can make a daily shape."""
    if not 0 <= amplitude <= 1:
        raise BadInputError(
            f"amplitude (={amplitude:g}) must lie in [0, 1]: 0.5 swings from half to 1.5 times."
        )
    if not (period_s > 0 and math.isfinite(period_s)):
        raise BadInputError(f"period (={period_s:g}) must be a number of seconds > 0: a day has 86400.")
