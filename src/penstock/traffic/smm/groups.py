"""Groups of alike streams, of nearly equal size.

Meng et al. (IMC 2023, section 5) cluster devices by how much they do and how much that varies. Here the largest
group is cut at the median of the feature that varies most in it, until there are enough groups.
"""

from __future__ import annotations

import heapq

import numpy as np

from penstock.arrays import F64, I64
from penstock.traffic.streams import Streams


def group_features(streams: Streams) -> F64:
    """What streams are grouped by: counts of each event, and mean and deviation of the gaps' logarithm."""
    owner, count = streams.stream_of_event, len(streams)
    columns = [
        np.log1p(np.bincount(owner[streams.event == code], minlength=count))
        for code in range(len(streams.events))
    ]
    log_gap = np.log1p(streams.gap_us.astype(np.float64))
    mean = np.bincount(owner, log_gap, count) / streams.sizes
    square = np.bincount(owner, log_gap**2, count) / streams.sizes
    features = np.stack([*columns, mean, np.sqrt(np.maximum(square - mean**2, 0.0))], axis=1)
    spread = features.std(axis=0)
    scaled: F64 = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def group_streams(features: F64, groups: int) -> I64:
    """The group (0 to at most ``groups`` - 1) of each row; groups that cannot be cut stay whole."""
    found = np.zeros(len(features), np.int64)
    heap = [(-len(features), 0, np.arange(len(features)))]
    made = 1
    while made < groups and heap:
        size, _, members = heapq.heappop(heap)
        cut = _cut(features[members]) if size < -1 else None
        if cut is None:
            continue
        left, right = members[~cut], members[cut]
        found[right] = made
        heapq.heappush(heap, (-len(left), 2 * made, left))
        heapq.heappush(heap, (-len(right), 2 * made + 1, right))
        made += 1
    return found


def _cut(features: F64) -> np.ndarray | None:
    """Which rows go right; None if all are alike."""
    column = int(np.argmax(features.std(axis=0)))
    values = features[:, column]
    right = values > np.median(values)
    if not right.any():
        right = values >= np.median(values)
    return right if right.any() and not right.all() else None
