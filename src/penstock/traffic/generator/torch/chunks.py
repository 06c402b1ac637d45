"""Streams as flat tensors, and chunks of streams of about one length, so that little is padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.traffic.streams import Streams

MOST_STEPS = 1024
"""Events of a stream that training reads; the rest of a longer one is left out, with its end."""


@dataclass(frozen=True)
class Rows:
    """What a network reads and should say at each step: a stream of n events has n + 1 rows; R rows in all.

    Row 0 of a stream reads its class, row k its event k; each says what comes next. ``event`` int64 (R,): the
    event read, -1 in row 0; ``klass`` int64 (R,); ``gap_us`` float64 (R,): before the event read;
    ``next_event`` int64 (R,): -1 in the last row, -2 if the stream was cut there; ``next_gap_us`` float64 (R,);
    ``left_us`` float64 (R,): from the event read to the end of the window. The row R, one more, is padding.
    """

    event: NDArray[np.int64]
    klass: NDArray[np.int64]
    gap_us: NDArray[np.int64]
    next_event: NDArray[np.int64]
    next_gap_us: NDArray[np.int64]
    left_us: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each stream."""
        return np.diff(self.first)


def rows_of(streams: Streams, most_steps: int = MOST_STEPS) -> Rows:
    """The rows of ``streams``, and the padding row."""
    kept = np.minimum(streams.sizes, most_steps)
    first = np.concatenate([[0], np.cumsum(kept + 1)])
    total = int(first[-1]) + 1
    starts, ends = first[:-1], first[1:] - 1
    source = np.arange(kept.sum()) + np.repeat(streams.first[:-1] - (first[:-1] - np.arange(len(kept))), kept)
    reads = np.ones(total, bool)
    reads[starts] = False
    reads[-1] = False
    says = np.ones(total, bool)
    says[ends] = False
    says[-1] = False

    def column(places: NDArray[np.bool_], values: NDArray[np.generic], fill: int) -> NDArray[np.int64]:
        made = np.full(total, fill, np.int64)
        made[places] = values[source]
        return made

    next_event = column(says, streams.event, -1)
    next_event[ends[kept < streams.sizes]] = -2
    next_event[-1] = -2
    time_us = column(reads, streams.time_us, 0)
    klass = np.append(np.repeat(streams.klass.astype(np.int64), kept + 1), 0)
    return Rows(
        column(reads, streams.event, -1),
        klass,
        column(reads, streams.gap_us, 0),
        next_event,
        column(says, streams.gap_us, 0),
        streams.window_us - time_us,
        first,
    )


def since_of(rows: Rows, kinds: int) -> NDArray[np.int64]:
    """How long before each row each type last came, or the window began: int64 (R, kinds), 0 for the row's own type."""
    count = len(rows.event)
    window_us = rows.left_us[0]
    time_us = window_us - rows.left_us
    begins = np.append(np.repeat(rows.first[:-1], rows.sizes), count - 1)
    made = np.empty((count, kinds), np.int64)
    for kind in range(kinds):
        last = np.maximum.accumulate(np.where(rows.event == kind, np.arange(count), -1))
        # A type that has not come in this stream yet: the window began at 0.
        made[:, kind] = time_us - np.where(last >= begins, time_us[last], 0)
    return made


def length_sorted(rows: Rows, tokens: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Chunks of streams of about one length, each about ``tokens`` rows with its padding; equal lengths in any
    order.
    """
    order = np.argsort(rows.sizes + rng.random(len(rows.sizes)), kind="stable")
    chunks, begin = [], 0
    sizes = rows.sizes[order]
    for at in range(1, len(order) + 1):
        if at == len(order) or sizes[at] * (at + 1 - begin) > tokens:
            chunks.append(order[begin:at])
            begin = at
    return chunks


def grid(rows: Rows, chunk: NDArray[np.int64], device: torch.device) -> Tensor:
    """Row numbers, int64 (steps, streams of the chunk), filled up with the padding row."""
    sizes = rows.sizes[chunk]
    steps = np.arange(int(sizes.max()))[:, None]
    padding = int(rows.first[-1])
    made = np.where(steps < sizes, rows.first[chunk] + steps, padding)
    return torch.from_numpy(made).to(device, non_blocking=True)
