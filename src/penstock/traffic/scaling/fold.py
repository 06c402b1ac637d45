"""Scaling a trace by folding: it is wrapped around a smaller circle, so that its parts overlap.

An arrival at time t goes to t modulo (period / factor). Every arrival is kept and the rate is ``factor`` times the
trace's own; this is how the PPipe paper (USENIX ATC 2025) scales the Azure Functions trace of 2021. The order within a
stream is lost, because its own arrivals overlap too.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import I64
from penstock.traffic.trace import Trace


def fold(
    trace: Trace, factor: float, window_us: int, rng: np.random.Generator, *, start_us: int | None = None
) -> I64:
    """The sorted times in [0, ``window_us``] of ``trace`` at ``factor`` (> 0) times its rate.

    The window begins at ``start_us`` of the folded circle; None draws the place, uniform, so that the mean count is
    exact. A window longer than the folded circle goes round it again. Below a factor of 1 there is nothing to fold:
    each arrival is kept with probability ``factor``.
    """
    circle_us = trace.period_us / max(factor, 1.0)
    begin_us = rng.random() * circle_us if start_us is None else start_us
    time_us = trace.time_us if factor >= 1 else trace.time_us[rng.random(len(trace)) < factor]
    first_us = np.mod(time_us - begin_us, circle_us)
    first_us = first_us[first_us < window_us]
    rounds = np.ceil((window_us - first_us) / circle_us).astype(np.int64)
    which = np.arange(rounds.sum()) - np.repeat(np.cumsum(rounds) - rounds, rounds)
    times_us = np.repeat(first_us, rounds) + which * circle_us
    return np.sort(np.rint(times_us).astype(np.int64))
