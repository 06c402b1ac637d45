"""Requests per second at equal steps, as monitoring systems record them: from rates to counts.

A value is a rate, so it counts rate x step arrivals. Missing steps and NaN count 0. Each series is a stream. Its labels
name it, and a label ``model`` says what it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.formats.counting import MOST_COUNT, Series, check_length


@dataclass(frozen=True)
class RateSeries:
    """A series: its labels, and (Unix time in seconds, requests per second) in order of time."""

    labels: Mapping[str, str]
    values: Sequence[tuple[float, float]]


def step_of(path: Path, series: Sequence[RateSeries]) -> int:
    """The step in whole seconds: the least distance of two values."""
    times = sorted({time for one in series for time, _ in one.values})
    steps = [later - earlier for earlier, later in pairwise(times)]
    step = min(steps, default=0)
    if step < 1 or any(abs(one / step - round(one / step)) > 1e-6 for one in steps) or step != round(step):
        raise BadInputError(
            f"{path}: values must be at equal steps of whole seconds, two at least (found {steps[:3]}). Query with a "
            f"step of whole seconds."
        )
    return round(step)


def counts_of(path: Path, series: Sequence[RateSeries]) -> Iterator[Series]:
    """The counts of every series, over the time of all of them."""
    step = step_of(path, series)
    first = min(one.values[0][0] for one in series)
    bins = round((max(one.values[-1][0] for one in series) - first) / step) + 1
    check_length(path, 1, bins, step)
    for one in series:
        counts = np.zeros(bins, np.int64)
        for time, rate in one.values:
            counts[round((time - first) / step)] = round(rate * step)
        name = ",".join(f"{key}={value}" for key, value in sorted(one.labels.items())) or "all"
        yield Series(counts, {"stream": name, "type": one.labels.get("model", "all")})


def rate_of(place: str, text: str) -> float:
    """The rate that ``text`` states, 0 if it is NaN or empty. ``place`` begins the message of an error.

    Raises :class:`ValueError` for what is no number, :class:`BadInputError` for a number out of range.
    """
    rate = float(text) if text.strip() else 0.0
    if math.isnan(rate):
        return 0.0
    if not 0 <= rate <= MOST_COUNT:
        raise BadInputError(f"{place}: rate {text} must be from 0 to {MOST_COUNT:,} requests per second.")
    return rate
