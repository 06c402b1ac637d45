"""What if: the same streams faster, or with a burst in the middle. The order of events in a stream never changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.streams import Streams

BURST_SHARE = 0.1
"""The part of the window that has the burst, in its middle."""


def faster(streams: Streams, speed: float) -> Streams:
    """Every gap, and the window, divided by ``speed`` (> 0)."""
    if not (np.isfinite(speed) and speed > 0):
        raise BadInputError(f"speed (={speed:g}) must be a number > 0. 2 makes everything twice as fast.")
    window_us = max(1, round(streams.window_us / speed))
    time_us = np.minimum((streams.time_us / speed).astype(np.int64), window_us - 1)
    return replace(streams, time_us=time_us, window_us=window_us)


def with_burst(streams: Streams, burst: float) -> Streams:
    """The load in the middle tenth of the window ``burst`` (> 0) times that of the rest.

    Time is compressed there and stretched elsewhere, the same for all streams. So each stream keeps its events, their
    order and the length of the window, as if a crowd came and went.
    """
    if not (np.isfinite(burst) and burst > 0):
        raise BadInputError(
            f"burst (={burst:g}) must be a number > 0. 5 makes the middle five times as busy."
        )
    window, half = float(streams.window_us), BURST_SHARE / 2
    # The share of events that falls before each edge, if they came evenly.
    inside = burst * BURST_SHARE / (burst * BURST_SHARE + 1 - BURST_SHARE)
    edges = np.array([0.0, (1 - inside) / 2, (1 + inside) / 2, 1.0])
    moved = np.interp(streams.time_us / window, edges, np.array([0.0, 0.5 - half, 0.5 + half, 1.0]))
    time_us = np.minimum((moved * window).astype(np.int64), streams.window_us - 1)
    return replace(streams, time_us=time_us)
