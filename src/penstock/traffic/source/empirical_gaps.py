"""A renewal process whose gaps are drawn at random from those of a recording, so their order is lost.

It is the baseline for loads without streams, where few generators predict better. All gaps are scaled by one factor, so
that the rate is the one asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import check_draw
from penstock.units import US_PER_S


@dataclass(frozen=True)
class EmpiricalGaps:
    """An arrival process. ``gap`` (>= 0) in units of their mean."""

    gap: F64

    @classmethod
    def of(cls, time_us: I64) -> EmpiricalGaps:
        """The gaps between the sorted ``time_us``. Raises :class:`BadInputError` unless two times differ."""
        gaps = np.diff(time_us).astype(np.float64)
        if not gaps.any():
            raise BadInputError(
                "all arrivals are at one time, but gaps need two different ones. Give a longer trace."
            )
        return cls(gaps / gaps.mean())

    def __call__(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
        """Sorted times within [0, ``seconds``]; stationary, as :mod:`penstock.traffic.processes.renewal` explains."""
        check_draw(rate_rps, seconds)
        if rate_rps == 0:
            return np.zeros(0, np.int64)
        # Begun within a gap: a uniform share of a gap chosen by its length.
        now_s = rng.random() * rng.choice(self.gap, p=self.gap / self.gap.sum()) / rate_rps
        chunk = int(rate_rps * seconds * 1.05) + 64
        times = [np.array([now_s])]
        while times[-1][-1] < seconds:
            times.append(times[-1][-1] + np.cumsum(rng.choice(self.gap, chunk)) / rate_rps)
        arrivals = np.concatenate(times)
        whole_us: I64 = np.rint(arrivals[arrivals < seconds] * US_PER_S).astype(np.int64)
        return whole_us
