"""A generator of streams for a recording that has none: each minute of it is a stream.

What happens within a window is learned; that one busy window follows another is not, since windows are drawn alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penstock.errors import BadInputError
from penstock.simulate.decisive.aggregate_loads import MakeTrace
from penstock.traffic.generator.protocol import Generator
from penstock.traffic.streams import Streams
from penstock.traffic.trace import Trace, closed_to_a_circle

WINDOW_US = 60_000_000


def windows_as_streams(trace: Trace, window_us: int = WINDOW_US) -> Streams:
    """One stream a window that has arrivals; the last window, if it is cut, is left out."""
    windows = trace.period_us // window_us
    inside = trace.time_us[trace.time_us < windows * window_us]
    if windows < 2 or not len(inside):
        raise BadInputError(
            f"the trace lasts {trace.period_us / 1e6:.0f} s, but at least two windows of {window_us / 1e6:.0f} s are "
            f"learned from. Give a longer trace."
        )
    _, sizes = np.unique(inside // window_us, return_counts=True)
    return Streams(
        np.zeros(len(inside), np.int16),
        inside % window_us,
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.zeros(len(sizes), np.int16),
        ("request",),
        ("all",),
        window_us,
    )


def windowed_trace(fit: Callable[[Streams], Generator]) -> MakeTrace:
    """Makes traces of a generator that ``fit`` fits to the windows of a trace, once for each trace."""
    fitted: list[tuple[Trace, Generator]] = []

    def make(trace: Trace, seed: int) -> Trace:
        streams = windows_as_streams(trace)
        generator = next((own for known, own in fitted if known is trace), None)
        if generator is None:
            generator = fit(streams)
            fitted.append((trace, generator))
        windows = trace.period_us // WINDOW_US
        drawn = generator.sample(len(streams), seed)
        # Windows without arrivals are no streams: as many as the trace has stay empty, at places of their own.
        places = np.random.default_rng([seed, 3]).permutation(windows)[: len(streams)]
        return closed_to_a_circle(drawn.time_us + places[drawn.stream_of_event] * WINDOW_US, {})

    return make
