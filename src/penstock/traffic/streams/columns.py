"""Streams as columns: which event, when, and where each stream begins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError

I16 = NDArray[np.int16]

MOST_NAMES = 32_767
"""Events and classes are stored as int16."""


@dataclass(frozen=True)
class Streams:
    """The events of S >= 1 streams, N in all; each stream has at least one.

    Stream s has the rows ``first[s]`` to ``first[s + 1]`` of ``event`` (an index into ``events``) and ``time_us``
    (in order, from the begin of the window). ``klass[s]`` is an index into ``classes``. Every stream was watched
    over [0, ``window_us``): what it did not do after its last event is known up to there. A ``window_us`` of 0
    means the last time of all plus one microsecond. Raises :class:`BadInputError` for arrays that do not fit
    together, for times below 0, that go back or lie past the window, and for codes without a name.
    """

    event: I16
    time_us: I64
    first: I64
    klass: I16
    events: tuple[str, ...]
    classes: tuple[str, ...]
    window_us: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        _check_shape(self)
        _check_times(self)
        _check_codes("event", self.event, self.events)
        _check_codes("klass", self.klass, self.classes)
        if not self.window_us:
            object.__setattr__(self, "window_us", int(self.time_us.max()) + 1)
        if self.time_us.max() >= self.window_us:
            raise BadInputError(
                f"streams: time {int(self.time_us.max())} us lies past the window of {self.window_us} us. "
                f"Give a longer window."
            )

    def __len__(self) -> int:
        """The number of streams."""
        return len(self.klass)

    @property
    def n_events(self) -> int:
        """The number of events of all streams."""
        return len(self.event)

    @cached_property
    def sizes(self) -> I64:
        """Events of each stream: int64 (S,)."""
        return np.diff(self.first)

    @cached_property
    def stream_of_event(self) -> I64:
        """The stream of each event: int64 (N,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes)

    @cached_property
    def gap_us(self) -> I64:
        """Time since the event before in the same stream, of a first event since the window began: int64 (N,), >=
        0."""
        gaps = np.diff(self.time_us, prepend=0)
        starts = self.first[:-1]
        gaps[starts] = self.time_us[starts]
        return gaps

    @property
    def events_per_second(self) -> float:
        """Of all streams together."""
        return self.n_events * 1e6 / self.window_us


def _check_types(streams: Streams) -> None:
    for name, kind in (("event", np.int16), ("time_us", np.int64), ("first", np.int64), ("klass", np.int16)):
        column = getattr(streams, name)
        if not isinstance(column, np.ndarray) or column.dtype != kind or column.ndim != 1:
            found = getattr(column, "dtype", type(column).__name__)
            raise BadInputError(
                f"streams: {name} is {found}, but a row of {np.dtype(kind)} is needed. Convert it."
            )
    if streams.window_us < 0:
        raise BadInputError(f"streams: window_us (={streams.window_us}) must be >= 0; 0 takes the last time.")


def _check_shape(streams: Streams) -> None:
    first, rows = streams.first, len(streams.event)
    if len(streams.time_us) != rows:
        raise BadInputError(f"streams: {rows} events have {len(streams.time_us)} times: give one for each.")
    if not len(streams.klass) or len(first) != len(streams.klass) + 1:
        raise BadInputError(
            f"streams: first has {len(first)} entries for {len(streams.klass)} streams: give one for each stream, and "
            f"the end; at least one stream is needed."
        )
    if first[0] != 0 or first[-1] != rows or np.any(np.diff(first) < 1):
        raise BadInputError(
            f"streams: first must rise from 0 to {rows}, since every stream has at least one event. Leave out streams "
            f"without events."
        )


def _check_times(streams: Streams) -> None:
    time_us = streams.time_us
    if time_us.min() < 0:
        row = int(np.argmin(time_us))
        raise BadInputError(f"streams: event {row}: time_us (={int(time_us[row])}) must be >= 0.")
    back = np.diff(time_us) < 0
    back[streams.first[1:-1] - 1] = False  # the next stream begins anew
    if back.any():
        row = int(np.argmax(back)) + 1
        stream = int(np.searchsorted(streams.first, row, side="right")) - 1
        raise BadInputError(
            f"streams: stream {stream}: time {int(time_us[row])} us of event {row} lies before "
            f"{int(time_us[row - 1])} us of the event before it. Sort the events of each stream by time."
        )


def _check_codes(column: str, codes: I16, names: tuple[str, ...]) -> None:
    if not 0 < len(names) <= MOST_NAMES or len(set(names)) != len(names) or not all(names):
        raise BadInputError(
            f"streams: the names of {column} ({len(names)} of them) must be 1 to {MOST_NAMES:,} different ones."
        )
    if codes.min() < 0 or codes.max() >= len(names):
        wrong = int(codes.min() if codes.min() < 0 else codes.max())
        raise BadInputError(f"streams: {column} (={wrong}) must be 0 to {len(names) - 1}, one for each name.")
