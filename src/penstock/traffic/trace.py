"""A recorded load: when requests came, from which stream, on a circle.

A simulation may be longer than a trace. So the recording is closed to a circle: after ``period_us`` it begins again.
Its natural rate is the number of arrivals over the period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.units import US_PER_S

MOST_ROWS = 100_000_000
"""Of a trace. With its columns, and while it is being sorted, this takes some gigabytes."""


@dataclass(frozen=True)
class Labels:
    """A column of names: ``names[codes[row]]`` for every row; ``names`` in order of first appearance in the file."""

    codes: I64
    names: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """Arrivals in order of time, and what the file says of each; columns of one length, at least 1.

    ``time_us`` lies in [0, ``period_us``). ``stream`` is whose request it was (a function, a user), ``class_`` a group
    of streams (an application, a kind of device), ``type_`` what was asked for (a model, an event); None if the format
    has no such column. Raises :class:`BadInputError` for times outside the period or out of order.
    """

    time_us: I64
    period_us: int
    stream: Labels | None = None
    class_: Labels | None = None
    type_: Labels | None = None

    def __post_init__(self) -> None:
        if not len(self.time_us):
            raise BadInputError("trace: holds no arrivals, and at least one is needed.")
        if self.time_us[0] < 0 or self.time_us[-1] >= self.period_us or np.any(np.diff(self.time_us) < 0):
            raise BadInputError(
                f"trace: times must be in order and lie in [0, {self.period_us}) microseconds."
            )
        for name, labels in self.labels().items():
            if len(labels.codes) != len(self):
                raise BadInputError(
                    f"trace: {name} has {len(labels.codes)} rows for {len(self)} times: give one a request."
                )

    def __len__(self) -> int:
        """The number of arrivals."""
        return len(self.time_us)

    @property
    def rate_rps(self) -> float:
        """The natural rate: arrivals over the period."""
        return len(self) * US_PER_S / self.period_us

    def labels(self) -> dict[str, Labels]:
        """The columns of names that the trace has, by their name in a file."""
        columns = {"stream": self.stream, "class": self.class_, "type": self.type_}
        return {name: labels for name, labels in columns.items() if labels is not None}

    @cached_property
    def stream_sizes(self) -> I64:
        """Arrivals of each stream, by code; of the one stream if the trace names none."""
        if self.stream is None:
            return np.array([len(self)], np.int64)
        return np.bincount(self.stream.codes, minlength=len(self.stream.names))


def closed_to_a_circle(time_us: I64, labels: Mapping[str, Labels]) -> Trace:
    """A trace of ``time_us`` in any order and from any origin: sorted, from 0 on, closed after the last arrival.

    Between the last arrival and the first of the next round lies the mean gap of *different* times, so that the seam
    is like any other place, even if a coarse clock gives many arrivals the same time. ``labels`` are by the names of
    :meth:`Trace.labels`. Raises :class:`BadInputError` unless there are at least two different times.
    """
    order = np.argsort(time_us, kind="stable")
    sorted_us = time_us[order] - time_us[order[0]] if len(order) else time_us
    steps = np.count_nonzero(np.diff(sorted_us))
    if not steps:
        raise BadInputError(
            f"has {len(time_us)} arrivals at one time, but a rate needs at least two different times. Add arrivals."
        )
    span_us = int(sorted_us[-1])
    columns = {name: Labels(column.codes[order], column.names) for name, column in labels.items()}
    return Trace(
        time_us=sorted_us,
        period_us=span_us + max(1, round(span_us / steps)),
        stream=columns.get("stream"),
        class_=columns.get("class"),
        type_=columns.get("type"),
    )
