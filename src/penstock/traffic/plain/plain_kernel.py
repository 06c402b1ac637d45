"""Drawing streams without memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.traffic.truth.draws import start, uniform

MOST_EVENTS = 100_000


@compiled
def draw_plain(
    key: int,
    klass: NDArray[np.int16],
    gap_us: F64,
    ends: F64,
    window_us: int,
    first: I64,
    event: NDArray[np.int16],
    time_us: I64,
    sizes: I64,
) -> None:
    """Every stream: its size into ``sizes``; its events into the rows from ``first`` on, unless that is empty.

    If the first gap passes the window, the first event comes anywhere in it: a stream has at least one event.
    """
    rng = np.empty(1, np.uint64)
    points, kinds = gap_us.shape[1], ends.shape[1]
    for i in range(len(klass)):
        start(rng, key, i)
        now_us, count = 0.0, 0
        while count < MOST_EVENTS:
            later_us = now_us + gap_us[klass[i], int(uniform(rng) * points)]
            if later_us >= window_us and count == 0:
                later_us = uniform(rng) * (window_us - 1)
            if later_us >= window_us:
                break
            now_us = later_us
            place, code = uniform(rng) * ends[klass[i], kinds - 1], 0
            while code < kinds - 1 and ends[klass[i], code] <= place:
                code += 1
            if len(first):
                event[first[i] + count] = code
                time_us[first[i] + count] = np.int64(now_us)
            count += 1
        sizes[i] = count
