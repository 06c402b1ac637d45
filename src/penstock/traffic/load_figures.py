"""What a load looks like in figures: rate, burstiness at several time scales, peaks, streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from penstock.arrays import I64
from penstock.traffic.trace import Trace
from penstock.units import US_PER_S, us_from_seconds

WINDOWS_S = (0.1, 1.0, 10.0, 100.0)
FEWEST_WINDOWS = 10
"""With fewer counts, their variance is not known."""


@dataclass(frozen=True)
class LoadFigures:
    """Figures of arrivals over ``seconds``.

    ``gap_cv`` is the coefficient of variation of the gaps between arrivals (1 for Poisson); ``dispersion`` the
    variance over the mean of the counts in windows of so many seconds (1 for Poisson, at every length); ``peak_rps``
    the most arrivals in a whole second and ``peak_over_mean`` that over the rate; ``tied_share`` the share of arrivals
    at the same time as the one before, large if a recording's clock is coarse. None: too few arrivals, or too short.
    """

    arrivals: int
    seconds: float
    rate_rps: float
    gap_cv: float | None
    dispersion: Mapping[float, float]
    peak_rps: int | None
    peak_over_mean: float | None
    tied_share: float | None
    names: Mapping[str, int] = field(default_factory=dict)
    """How many different streams, classes and types there are, if the trace names them."""


def describe(time_us: I64, duration_us: int, names: Mapping[str, int] | None = None) -> LoadFigures:
    """Figures of the sorted ``time_us`` in [0, ``duration_us``]."""
    seconds = duration_us / US_PER_S
    gaps = np.diff(time_us)
    peak_rps = _peak(time_us, duration_us)
    rate_rps = len(time_us) / seconds
    return LoadFigures(
        arrivals=len(time_us),
        seconds=seconds,
        rate_rps=rate_rps,
        gap_cv=float(gaps.std() / gaps.mean()) if gaps.any() else None,
        dispersion=_dispersions(time_us, duration_us),
        peak_rps=peak_rps,
        peak_over_mean=peak_rps / rate_rps if peak_rps is not None and rate_rps else None,
        tied_share=float(np.mean(gaps == 0)) if len(gaps) else None,
        names=names or {},
    )


def describe_trace(trace: Trace) -> LoadFigures:
    """Figures of a trace over its period."""
    names = {name: len(labels.names) for name, labels in trace.labels().items()}
    return describe(trace.time_us, trace.period_us, names)


def _dispersions(time_us: I64, duration_us: int) -> dict[float, float]:
    """The index of dispersion for each length of window that fits often enough."""
    found = {}
    for window_s in WINDOWS_S:
        windows = duration_us // us_from_seconds(window_s)
        counts = _busy_counts(time_us, us_from_seconds(window_s), windows)
        if windows >= FEWEST_WINDOWS and len(counts):
            mean = counts.sum() / windows
            found[window_s] = float((np.square(counts).sum() / windows - mean * mean) / mean)
    return found


def _peak(time_us: I64, duration_us: int) -> int | None:
    seconds = duration_us // US_PER_S
    if not seconds:
        return None
    return int(_busy_counts(time_us, US_PER_S, seconds).max(initial=0))


def _busy_counts(time_us: I64, window_us: int, windows: int) -> I64:
    """Arrivals in each of ``windows`` windows that has any. Empty ones are left out, because a year has too many."""
    place = time_us // window_us
    place = place[place < windows]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.diff(starts, append=len(place))
