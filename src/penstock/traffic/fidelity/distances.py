"""Distances between samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.traffic.streams import Streams


def largest_cdf_distance(a: ArrayLike, b: ArrayLike) -> float:
    """The largest difference of the two empirical distribution functions (Kolmogorov and Smirnov).

    Both samples must have values. The largest difference is reached at a value of one of them, just after its step.
    """
    first, second = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    places = np.concatenate([first, second])
    below_first = np.searchsorted(first, places, side="right") / len(first)
    below_second = np.searchsorted(second, places, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def mix(streams: Streams) -> NDArray[np.float64]:
    """The share of each event: (events,)."""
    counts = np.bincount(streams.event, minlength=len(streams.events))
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing their mean rank. 0 if one side is constant."""
    ranks_a, ranks_b = mean_ranks(a), mean_ranks(b)
    if not ranks_a.std() or not ranks_b.std():
        return 0.0
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
