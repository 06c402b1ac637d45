"""Scaling a trace by superposition: more streams like those recorded, each as it was.

``factor`` = m + fraction. m whole copies of the trace are laid on one another, each turned round the circle by an
offset of its own, so that within a copy every stream keeps its order, its think times and its company. The
fraction is one more copy, in part:

- of a trace with streams, each stream is in it with probability ``fraction``, whole: a systematic sample of the streams
  ordered by size (Madow 1949), which takes large and small ones alike and so varies little in the total;
- of a single stream, each arrival is kept with probability ``fraction``, independently.

Offsets are whole microseconds, uniform on the circle, so the mean count is exact and no gap is rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.traffic.trace import Trace

NEARLY_WHOLE = 1e-9
"""A factor so near a whole number, relatively, was meant to be one: rates are quotients of floats."""


@dataclass(frozen=True)
class Excerpt:
    """Arrivals drawn from a trace, in order of time: when, which ``row`` of the trace, and in which ``copy`` of it.

    A stream of the excerpt is a (copy, stream of the row) pair.
    """

    time_us: I64
    row: I64
    copy: I64


def superpose(
    trace: Trace, factor: float, window_us: int, rng: np.random.Generator, *, start_us: int | None = None
) -> Excerpt:
    """The arrivals in [0, ``window_us``) of ``trace`` at ``factor`` (> 0) times its rate.

    ``start_us`` is where on the circle the first copy begins; the others, and with None all, begin anywhere. A window
    longer than the trace goes round it again.
    """
    if abs(factor - round(factor)) < NEARLY_WHOLE * factor:
        factor = round(factor)
    offsets_us = rng.integers(0, trace.period_us, math.ceil(factor))
    if start_us is not None:
        offsets_us[0] = start_us % trace.period_us
    drawn = _windows(trace, offsets_us, window_us)
    fraction = factor - math.floor(factor)
    if fraction:
        kept = (drawn.copy < math.floor(factor)) | _chosen(trace, drawn.row, fraction, rng)
        drawn = Excerpt(drawn.time_us[kept], drawn.row[kept], drawn.copy[kept])
    order = np.argsort(drawn.time_us, kind="stable")
    return Excerpt(drawn.time_us[order], drawn.row[order], drawn.copy[order])


def _windows(trace: Trace, offsets_us: I64, window_us: int) -> Excerpt:
    """A window on the unrolled circle from each offset: the arrivals of one are consecutive there."""
    first = _before(trace, offsets_us)
    counts = _before(trace, offsets_us + window_us) - first
    copy = np.repeat(np.arange(len(offsets_us)), counts)
    place = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    laps, row = np.divmod(place, len(trace))
    return Excerpt(trace.time_us[row] + laps * trace.period_us - offsets_us[copy], row, copy)


def _before(trace: Trace, time_us: I64) -> I64:
    """How many arrivals of the unrolled circle lie before each time."""
    laps, rest_us = np.divmod(time_us, trace.period_us)
    before: I64 = laps * len(trace) + np.searchsorted(trace.time_us, rest_us)
    return before


def _chosen(trace: Trace, row: I64, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether each drawn row is in a copy that holds ``fraction`` of the trace."""
    sizes = trace.stream_sizes
    if trace.stream is None or len(sizes) == 1:
        return rng.random(len(row)) < fraction
    steps = np.floor(np.arange(len(sizes) + 1) * fraction + rng.random())
    chosen = np.empty(len(sizes), np.bool_)
    chosen[np.argsort(sizes, kind="stable")] = np.diff(steps) > 0
    picked: NDArray[np.bool_] = chosen[trace.stream.codes[row]]
    return picked
