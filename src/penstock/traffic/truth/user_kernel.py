"""One user of an inference server, event by event."""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.traffic.truth.cellular_kernel import HOUR_S, WARM_UP_S, put
from penstock.traffic.truth.draws import lognormal, normal, start, uniform

OPEN, INFER_A, INFER_B, FOLLOW_UP, SWITCH, CLOSE = range(6)


@compiled
def user(
    seed: int,
    number: int,
    law: F64,
    busy: F64,
    first_hour: int,
    length_us: int,
    has_update: bool,
    events: NDArray[np.int16],
    times: I64,
) -> int:
    """As :func:`penstock.traffic.truth.cellular_kernel.device`, for a row of ``UserClass``; ``has_update`` is
    unused."""
    state = np.empty(1, np.uint64)
    start(state, seed, number)
    own = law[2] * normal(state)
    wave = normal(state)
    keep = math.sqrt(1.0 - law[4] * law[4])
    now_s = -WARM_UP_S - HOUR_S * uniform(state) * 0.5
    end_s = length_us / 1e6
    count = 0
    while now_s < end_s:
        wave = law[4] * wave + keep * normal(state)
        activity = own + law[3] * wave
        hour = (first_hour + math.floor(now_s / HOUR_S)) % 24
        now_s += lognormal(state, law[0] / busy[hour] * math.exp(activity), law[1])
        count = put(OPEN, now_s, length_us, events, times, count)
        turns = max(1, int(lognormal(state, law[5], law[6])))
        pace_s = lognormal(state, law[7], law[9])
        model = INFER_A if uniform(state) < law[11] else INFER_B
        now_s += lognormal(state, 0.05, 0.5)
        count = put(model, now_s, length_us, events, times, count)
        for _ in range(turns - 1):
            now_s += lognormal(state, pace_s, law[8])
            if now_s >= end_s:
                break
            if uniform(state) < law[10]:
                count = put(SWITCH, now_s, length_us, events, times, count)
                model = INFER_B if model == INFER_A else INFER_A
                now_s += lognormal(state, 0.05, 0.5)
                count = put(model, now_s, length_us, events, times, count)
            else:
                count = put(FOLLOW_UP, now_s, length_us, events, times, count)
        now_s += lognormal(state, pace_s, law[8])
        count = put(CLOSE, now_s, length_us, events, times, count)
    return count
