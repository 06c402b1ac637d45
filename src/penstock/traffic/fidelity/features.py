"""What a classifier sees of a stream: counts, what follows what, gaps and how they depend on each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.traffic.streams import Streams

MOST_PAIRS = 24
"""Pairs of consecutive events that are counted: the most frequent ones."""
MOST_KINDS = 12
"""Kinds of events whose gaps are described: the most frequent ones."""
QUANTILES = (0.1, 0.5, 0.9)


def stream_features(streams: Streams, like: Streams) -> F64:
    """One row a stream. ``like`` chooses which pairs and kinds are looked at, so that all samples have the same
    columns.

    NaN: the stream has no such gaps.
    """
    log_gap = np.log1p(streams.gap_us.astype(np.float64))
    inside = _inside(streams)
    owner, count = streams.stream_of_event, len(streams)
    columns = [
        np.log(streams.sizes),
        log_gap[streams.first[:-1]],
        np.log1p((streams.window_us - streams.time_us[streams.first[1:] - 1]).astype(np.float64)),
        streams.event[streams.first[:-1]].astype(np.float64),
        streams.event[streams.first[1:] - 1].astype(np.float64),
        *_moments(log_gap[inside], owner[inside], count),
        _lag_1(log_gap[inside], owner[inside], count),
    ]
    for code in _frequent(like.event, MOST_KINDS):
        chosen = inside & (streams.event == code)
        columns.append(np.bincount(owner[streams.event == code], minlength=count) / streams.sizes)
        columns.extend(_moments(log_gap[chosen], owner[chosen], count))
        columns.extend(_quantiles(log_gap[chosen], owner[chosen], count))
        columns.append(_lag_1(log_gap[chosen], owner[chosen], count))
    kinds = len(streams.events)
    pairs = _pairs(streams, kinds)
    columns.extend(
        np.bincount(owner[inside & (pairs == pair)], minlength=count) / streams.sizes
        for pair in _frequent(_pairs(like, kinds)[_inside(like)], MOST_PAIRS)
    )
    return np.stack(columns, axis=1)


def _inside(streams: Streams) -> NDArray[np.bool_]:
    """Every event but the first of each stream."""
    inside = np.ones(streams.n_events, np.bool_)
    inside[streams.first[:-1]] = False
    return inside


def _pairs(streams: Streams, kinds: int) -> I64:
    before = np.roll(streams.event, 1).astype(np.int64)
    return before * kinds + streams.event


def _frequent(codes: NDArray[np.integer], most: int) -> list[int]:
    counts = np.bincount(codes)
    return [int(code) for code in np.argsort(-counts, kind="stable")[:most] if counts[code]]


def _moments(values: F64, owner: I64, count: int) -> list[F64]:
    """Mean and deviation of each stream's values."""
    n = np.bincount(owner, minlength=count).astype(np.float64)
    n[n == 0] = np.nan
    mean = np.bincount(owner, values, count) / n
    square = np.bincount(owner, values * values, count) / n
    return [mean, np.sqrt(np.maximum(square - mean * mean, 0.0))]


def _quantiles(values: F64, owner: I64, count: int) -> list[F64]:
    """Quantiles of each stream's values, by the value at the nearest place."""
    order = np.lexsort((values, owner))
    ordered = np.append(values[order], np.nan)
    sizes = np.bincount(owner, minlength=count)
    begin = np.cumsum(sizes) - sizes
    return [
        np.where(
            sizes > 0,
            ordered[np.where(sizes > 0, begin + np.rint(q * (sizes - 1)).astype(np.int64), -1)],
            np.nan,
        )
        for q in QUANTILES
    ]


def _lag_1(values: F64, owner: I64, count: int) -> F64:
    """The mean product of neighbours, in units of the spread over all streams: serial dependence of each stream."""
    if len(values) < 2:
        return np.full(count, np.nan)
    scaled = (values - values.mean()) / (values.std() or 1.0)
    same = owner[1:] == owner[:-1]
    n = np.bincount(owner[1:][same], minlength=count).astype(np.float64)
    n[n == 0] = np.nan
    return np.bincount(owner[1:][same], (scaled[1:] * scaled[:-1])[same], count) / n
