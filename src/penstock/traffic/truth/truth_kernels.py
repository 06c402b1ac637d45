"""All devices or users of a class, one after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.traffic.truth.cellular_kernel import device
from penstock.traffic.truth.user_kernel import user

DEVICE, USER = 0, 1


@compiled
def count_all(
    kind: int,
    key: int,
    begin: int,
    law: F64,
    busy: F64,
    hour: int,
    length_us: int,
    has_update: bool,
    counts: I64,
) -> None:
    """Set ``counts[i]`` to the events of stream ``begin + i``."""
    events, times = np.zeros(0, np.int16), np.zeros(0, np.int64)
    for i in range(len(counts)):
        if kind == DEVICE:
            counts[i] = device(key, begin + i, law, busy, hour, length_us, has_update, events, times)
        else:
            counts[i] = user(key, begin + i, law, busy, hour, length_us, has_update, events, times)


@compiled
def fill_all(
    kind: int,
    key: int,
    numbers: I64,
    first: I64,
    law: F64,
    busy: F64,
    hour: int,
    length_us: int,
    has_update: bool,
    event: NDArray[np.int16],
    time_us: I64,
) -> None:
    """Write the events of stream ``numbers[i]`` into the rows from ``first[i]`` to ``first[i + 1]``."""
    for i in range(len(numbers)):
        events, times = event[first[i] : first[i + 1]], time_us[first[i] : first[i + 1]]
        if kind == DEVICE:
            device(key, numbers[i], law, busy, hour, length_us, has_update, events, times)
        else:
            user(key, numbers[i], law, busy, hour, length_us, has_update, events, times)
