"""On/off bursts: a Markov-modulated Poisson process of two states.

The source is *on* and *off* for exponential times, one after the other, and Poisson in each state (Heffes and
Lucantoni 1986). The state at time 0 is drawn from its long-run shares, and what remains of an exponential time is
exponential again, so the process is stationary and its mean rate exact over windows of any length.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import check_draw
from penstock.traffic.processes.modulated import piecewise_poisson

SHORTEST_S = 0.001
"""Shorter bursts have hardly any arrival. The process is then nearly Poisson, but takes much longer to draw."""

MOST_BURSTS = 100_000_000
"""Of one draw, on average; more would not fit in memory."""


def onoff(
    rate_rps: float, seconds: float, rng: np.random.Generator, *, on_s: float, off_s: float, ratio: float
) -> I64:
    """Sorted times in microseconds: bursts of ``on_s`` on average, ``off_s`` between them.

    ``ratio`` is the rate when on over the rate when off, at least 1; infinite: silence when off. The mean of both
    is ``rate_rps``. Raises :class:`BadInputError` for durations below a millisecond, a smaller ratio, or a bad draw.
    """
    check_onoff(on_s, off_s, ratio)
    check_draw(rate_rps, seconds)
    if seconds / (on_s + off_s) > MOST_BURSTS:
        raise BadInputError(
            f"{seconds:g} s hold {seconds / (on_s + off_s):g} bursts of on (={on_s:g}) and off (={off_s:g}), but "
            f"one draw holds at most {MOST_BURSTS:,}. Take longer bursts or a shorter time."
        )
    share_on = on_s / (on_s + off_s)
    rate_on_rps = rate_rps / (share_on + (1 - share_on) / ratio)
    edges_s, is_on = _states(seconds, rng, on_s, off_s, starts_on=rng.random() < share_on)
    return piecewise_poisson(edges_s, np.where(is_on, rate_on_rps, rate_on_rps / ratio), rng)


def check_onoff(on_s: float, off_s: float, ratio: float) -> None:
    """Raise :class:`BadInputError` unless the three can make an on/off process."""
    for name, value in (("on", on_s), ("off", off_s)):
        if not SHORTEST_S <= value < float("inf"):
            raise BadInputError(f"{name} (={value:g}) must be a mean duration of at least {SHORTEST_S} s.")
    if not ratio >= 1:
        raise BadInputError(
            f"ratio (={ratio:g}) must be at least 1: the rate when on over the rate when off. 'inf' is silence."
        )


def _states(
    seconds: float, rng: np.random.Generator, on_s: float, off_s: float, *, starts_on: bool
) -> tuple[F64, F64]:
    """The times at which the state may change, from 0 to ``seconds``, and whether it is on after each but the last."""
    mean_s = np.array([on_s, off_s] if starts_on else [off_s, on_s])
    chunk = int(seconds / (on_s + off_s)) + 16
    ends = [np.zeros(1)]
    while ends[-1][-1] < seconds:
        lengths_s = rng.exponential(np.tile(mean_s, chunk))
        ends.append(ends[-1][-1] + np.cumsum(lengths_s))
    edges_s = np.concatenate(ends)
    last = int(np.searchsorted(edges_s, seconds))
    edges_s = np.append(edges_s[:last], seconds)
    return edges_s, np.arange(last) % 2 == (0 if starts_on else 1)
