"""A recorded trace as an arrival process: scaled to any rate, cut to any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.arrivals import I64, check_draw
from penstock.traffic.fold import fold
from penstock.traffic.superpose import superpose
from penstock.traffic.trace import Trace
from penstock.units import us_from_seconds

Scale = Literal["superpose", "fold"]

MOST_COPIES = 10_000_000
"""Beyond it every copy gives hardly an arrival, and the trace's own shape is gone."""


@dataclass(frozen=True)
class TraceReplay:
    """Draws windows of ``trace``, scaled from its natural rate to the rate asked for.

    Every draw is from a place of its own on the circle, and from offsets of its own: models that replay the same
    trace get independent arrivals. ``start_s`` fixes the place instead; models then rise and fall together.
    """

    trace: Trace
    scale: Scale = "superpose"
    start_s: float | None = None

    def __call__(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
        """Sorted times in microseconds within ``[0, seconds]``, ``rate_rps * seconds`` of them on average.

        Raises :class:`BadInputError` for a bad draw, or a trace too thin for the rate.
        """
        check_draw(rate_rps, seconds)
        if rate_rps == 0:
            return np.zeros(0, np.int64)
        factor = rate_rps / self.trace.rate_rps
        if factor > MOST_COPIES:
            raise BadInputError(
                f"rate_rps (={rate_rps:g}) is {factor:g} times the trace's own {self.trace.rate_rps:g}, but at most "
                f"{MOST_COPIES:,} times can be drawn. Use a denser trace."
            )
        start_us = None if self.start_s is None else us_from_seconds(self.start_s)
        window_us = us_from_seconds(seconds)
        if self.scale == "fold":
            return fold(self.trace, factor, window_us, rng, start_us=start_us)
        return superpose(self.trace, factor, window_us, rng, start_us=start_us).time_us
