"""A recorded trace as an arrival process: scaled to any rate, cut to any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import check_draw
from penstock.traffic.scaling.fold import fold
from penstock.traffic.scaling.superpose import superpose
from penstock.traffic.trace import Trace
from penstock.units import US_PER_S, us_from_seconds

Scale = Literal["superpose", "fold", "none"]
"""How a trace comes to the rate asked for; ``none`` keeps its own times and rate."""

Route = Literal["column", "all"]
"""Which rows a model gets: those that name it, or all."""

MOST_COPIES = 10_000_000
"""Beyond it, every copy gives hardly any arrival, and the shape of the trace is lost."""


@dataclass(frozen=True)
class TraceReplay:
    """Draws windows of ``trace``, scaled from its natural rate to the rate asked for.

    Every draw is from a place of its own on the circle, and from offsets of its own: models that replay the same
    trace get independent arrivals. ``start_s`` fixes the place instead; models then rise and fall together. With
    ``scale`` none, a draw is the recording itself from ``start_s`` (default 0), whatever rate is asked for.

    ``route`` and ``name`` are for :mod:`penstock.traffic.routed_trace`, which knows the models: whose rows a model
    gets (None: those that name it, if the trace names models), and what the trace is called in messages.
    """

    trace: Trace
    scale: Scale = "superpose"
    start_s: float | None = None
    route: Route | None = None
    name: str = "trace"

    def __call__(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
        """Sorted times in microseconds within ``[0, seconds]``, ``rate_rps * seconds`` of them on average.

        Raises :class:`BadInputError` for a bad draw, or a trace too thin for the rate.
        """
        if self.scale == "none":
            return recorded(self.trace, self.start_s or 0.0, seconds, self.name)
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

    @property
    def recorded_s(self) -> float | None:
        """How long the recording lasts from its start, if it is not scaled."""
        if self.scale != "none":
            return None
        return self.trace.period_us / US_PER_S - (self.start_s or 0.0)


def recorded(trace: Trace, start_s: float, seconds: float, name: str) -> I64:
    """The times of ``trace`` in [``start_s``, ``start_s + seconds``), less ``start_s``, in microseconds.

    Raises :class:`BadInputError` for a window that reaches beyond the recording.
    """
    check_draw(0.0, seconds)
    begin_us, end_us = us_from_seconds(start_s), us_from_seconds(start_s + seconds)
    if end_us > trace.period_us:
        length_s = trace.period_us / US_PER_S
        raise BadInputError(
            f"{name}: {seconds:g} s from {start_s:g} s on reach beyond the recording of {length_s:.6f} s, and "
            f"scale=none repeats nothing. Ask for fewer seconds, or leave them out for the whole recording."
        )
    first, stop = np.searchsorted(trace.time_us, [begin_us, end_us])
    return trace.time_us[first:stop] - begin_us
