"""What load comes in the next minutes, as a factor on the base rates: from the load of the last ones, or from a day.

A node takes minutes to come. So what counts is the highest load until then, not the load now. Three forecasts, by what
they know: the last minutes; also the load a day ago, hour by hour; also the day itself, minute by minute.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol, final

import numpy as np

from penstock.arrays import F64

TREND_S = 900.0
"""How far back a trend is looked for. Shorter, and chance makes trends; longer, and a rise is seen late."""
LEAST_WINDOWS = 3
"""A trend needs as many observations at least."""
DAY_S = 86_400.0
WITHIN_S = 3_600.0
"""What the load was a day ago is expected so much earlier or later: the busy hours of two days are alike, their minutes
are not."""
LEVEL_S = 6 * 3_600.0
"""Over how long two days are compared. Shorter, and a burst of one of them changes the level."""
LEAST_LEVEL, MOST_LEVEL = 0.5, 2.0
"""A day that differs by more is not like the day before: then the load of the last minutes must do."""


class Forecast(Protocol):
    """Knows what load comes."""

    def observe(self, now_s: float, factor: float) -> None:
        """The load in the window that ends ``now_s``."""
        ...

    def peak(self, now_s: float, ahead_s: float) -> float:
        """The highest load expected from ``now_s`` until ``ahead_s`` later, without a margin."""
        ...


@final
class LiveForecast:
    """The last window's load, or the mean of the last :data:`TREND_S` if that is more, and the rise of the load since.

    The rise is the slope of the least-squares line through the windows, carried on until ``ahead_s``. A fall is not
    carried on: to keep a device for some minutes costs little, to lack one costs requests.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def observe(self, now_s: float, factor: float) -> None:
        """See :class:`Forecast`."""
        self._seen.append((now_s, factor))
        while self._seen[0][0] < now_s - TREND_S:
            self._seen.popleft()

    def peak(self, now_s: float, ahead_s: float) -> float:
        """See :class:`Forecast`; 0 if nothing was observed."""
        if not self._seen:
            return 0.0
        times = np.array([at for at, _ in self._seen]) - now_s
        loads = np.array([load for _, load in self._seen])
        level = max(float(loads[-1]), float(loads.mean()))
        if len(loads) < LEAST_WINDOWS:
            return level
        from_mean = times - times.mean()
        slope = float((from_mean * loads).sum()) / float((from_mean**2).sum())
        return level + max(slope, 0.0) * ahead_s


@final
class DayBefore:
    """The highest load that there was a day ago, :data:`WITHIN_S` earlier or later, at the level of today.

    The level is the ratio of the loads of the last :data:`LEVEL_S` and of the same hours a day ago. The load of the
    last minutes counts as well if it is more. In the first day it is :class:`LiveForecast`. ``period_s``: of a day.
    """

    def __init__(self, period_s: float = DAY_S) -> None:
        self._period_s = period_s
        self._live = LiveForecast()
        self._seen: deque[tuple[float, float]] = deque()

    def observe(self, now_s: float, factor: float) -> None:
        """See :class:`Forecast`."""
        self._live.observe(now_s, factor)
        self._seen.append((now_s, factor))
        while self._seen[0][0] <= now_s - self._period_s - max(WITHIN_S, LEVEL_S):
            self._seen.popleft()

    def peak(self, now_s: float, ahead_s: float) -> float:
        """See :class:`Forecast`; 0 if nothing was observed."""
        if not self._seen:
            return 0.0
        times, loads = np.array(self._seen).T
        then_s = now_s - self._period_s
        if times[0] > then_s:
            return self._live.peak(now_s, ahead_s)
        alike = loads[(times >= then_s - WITHIN_S) & (times <= then_s + ahead_s + WITHIN_S)]
        # The first day may have begun later than the hours that are compared.
        from_s = max(now_s - LEVEL_S, float(times[0]) + self._period_s)
        today = loads[times > from_s]
        before = loads[(times > from_s - self._period_s) & (times <= then_s)]
        level = 1.0
        if now_s - from_s >= WITHIN_S and before.sum() > 0:
            level = min(max(float(today.mean() / before.mean()), LEAST_LEVEL), MOST_LEVEL)
        return max(float(alike.max(initial=0.0)) * level, self._live.peak(now_s, 0.0))


@final
class KnownDay:
    """A day that is known: ``factors`` has the load of each ``step_s`` from time 0, and the day repeats.

    The load that is observed counts too if it is above what was known.
    """

    def __init__(self, factors: Sequence[float] | F64, step_s: float) -> None:
        self._factors = np.asarray(factors, dtype=np.float64)
        self._step_s = step_s
        self._live = LiveForecast()

    def observe(self, now_s: float, factor: float) -> None:
        """See :class:`Forecast`."""
        self._live.observe(now_s, factor)

    def peak(self, now_s: float, ahead_s: float) -> float:
        """See :class:`Forecast`."""
        first = math.floor(now_s / self._step_s)
        last = math.ceil((now_s + ahead_s) / self._step_s)
        known = self._factors[np.arange(first, max(last, first + 1)) % len(self._factors)]
        return max(float(known.max()), self._live.peak(now_s, 0.0))
