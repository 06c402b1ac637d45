"""Parts of streams: some of them, two disjoint groups, or windows of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.streams.columns import Streams


def select_streams(streams: Streams, chosen: NDArray[np.intp] | I64) -> Streams:
    """The streams ``chosen``, in that order; one may be chosen several times."""
    chosen = np.asarray(chosen, np.int64)
    sizes = streams.sizes[chosen]
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows = np.arange(first[-1]) + np.repeat(streams.first[chosen] - first[:-1], sizes)
    return Streams(
        streams.event[rows],
        streams.time_us[rows],
        first,
        streams.klass[chosen],
        streams.events,
        streams.classes,
        streams.window_us,
    )


def split_streams(streams: Streams, share: float, seed: int) -> tuple[Streams, Streams]:
    """Two disjoint groups of whole streams, the first with ``share`` of them. Raises for fewer than two streams."""
    if len(streams) < 2:
        raise BadInputError(
            "streams: the trace has one stream, but a part must be held out to score with. Give at least two streams."
        )
    order = np.random.default_rng([seed, 0x5B117]).permutation(len(streams))
    count = min(max(round(share * len(streams)), 1), len(streams) - 1)
    return select_streams(streams, np.sort(order[:count])), select_streams(streams, np.sort(order[count:]))


def join_streams(parts: Sequence[Streams]) -> Streams:
    """The streams of ``parts`` one after another; all must have the same names, and the longest window counts."""
    head = parts[0]
    for part in parts[1:]:
        if (part.events, part.classes) != (head.events, head.classes):
            raise BadInputError(
                "streams: parts with different events or classes cannot be joined. Rename them first."
            )
    ends = np.cumsum([0, *(part.n_events for part in parts)])
    return Streams(
        np.concatenate([part.event for part in parts]),
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.first[:-1] + end for part, end in zip(parts, ends, strict=False)] + [ends[-1:]]),
        np.concatenate([part.klass for part in parts]),
        head.events,
        head.classes,
        max(part.window_us for part in parts),
    )


def windows_of(streams: Streams, window_us: int) -> Iterator[tuple[int, Streams]]:
    """Cut the whole window into windows of ``window_us``: (number of the window, its streams), those with events.

    Times begin at 0 in each. A stream is in a window if it has an event there. A shorter rest at the end is left out.
    """
    if not 0 < window_us <= streams.window_us:
        raise BadInputError(
            f"window (={window_us} us) must be above 0 and at most the trace's own {streams.window_us} us."
        )
    place = streams.time_us // window_us
    for number in range(streams.window_us // window_us):
        kept = place == number
        if kept.any():
            owner, sizes = np.unique(streams.stream_of_event[kept], return_counts=True)
            yield (
                number,
                Streams(
                    streams.event[kept],
                    streams.time_us[kept] - number * window_us,
                    np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
                    streams.klass[owner],
                    streams.events,
                    streams.classes,
                    window_us,
                ),
            )
