"""One device in a cellular network, event by event."""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.traffic.truth.draws import heavy, lognormal, normal, start, uniform

HOUR_S = 3600.0
ATTACH, DETACH, REQUEST, RELEASE, HANDOVER, UPDATE = range(6)
WARM_UP_S = 2 * HOUR_S
"""Simulated before the window: devices are in the midst of something when it begins."""


@compiled
def put(event: int, time_s: float, length_us: int, events: NDArray[np.int16], times: I64, count: int) -> int:
    """Note an event if it lies in [0, ``length_us``); only count it if the arrays are too short. The new count."""
    time_us = np.int64(math.floor(time_s * 1e6 + 0.5))
    if time_us < 0 or time_us >= length_us:
        return count
    if count < len(events):
        events[count] = event
        times[count] = time_us
    return count + 1


@compiled
def device(
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
    """Simulate device ``number`` from before the window to its end; how many events it has there.

    ``law``: a row of :class:`~penstock.traffic.truth.device_classes.DeviceClass`. ``busy``: (24,), the factor on
    activity.
    """
    idle_median, idle_sigma, idle_tail, idle_index = law[0], law[1], law[2], law[3]
    steady, moving, persistence = law[4], law[5], law[6]
    timer, burst_median, burst_sigma, burst_activity = law[7], law[8], law[9], law[10]
    handover_gap, handover_sigma, update_share = law[12], law[13], law[14]
    update_gap, update_sigma, close_share, close_lag = law[15], law[16], law[17], law[18]
    detach_share, off_median, off_sigma = law[19], law[20], law[21]
    state = np.empty(1, np.uint64)
    start(state, seed, number)
    speed = math.exp(law[11] * normal(state))
    own = steady * normal(state)
    now_s = -WARM_UP_S - HOUR_S * uniform(state) * 0.5
    end_s = length_us / 1e6
    wave = normal(state)
    keep = math.sqrt(1.0 - persistence * persistence)
    count = 0
    while now_s < end_s:
        # CONNECTED from now_s on.
        wave = persistence * wave + keep * normal(state)
        activity = own + moving * wave
        length_s = timer + lognormal(state, burst_median * math.exp(-burst_activity * activity), burst_sigma)
        leave_s = now_s + length_s
        at_s = now_s + lognormal(state, handover_gap / speed, handover_sigma)
        while at_s < leave_s and at_s < end_s:
            count = put(HANDOVER, at_s, length_us, events, times, count)
            if has_update and uniform(state) < update_share:
                at_s += lognormal(state, 0.4, 0.5)
                if at_s >= leave_s:
                    break
                count = put(UPDATE, at_s, length_us, events, times, count)
            at_s += 0.2 + lognormal(state, handover_gap / speed, handover_sigma)
        now_s = leave_s
        off = uniform(state) < detach_share
        if not off:
            count = put(RELEASE, now_s, length_us, events, times, count)
            # IDLE from now_s on.
            hour = (first_hour + math.floor(now_s / HOUR_S)) % 24
            median = idle_median / busy[hour] * math.exp(activity)
            leave_s = now_s + 0.05 + heavy(state, median, idle_sigma, idle_tail, idle_index)
            if has_update:
                at_s = now_s + lognormal(state, update_gap / speed, update_sigma)
                while at_s < leave_s and at_s < end_s:
                    count = put(UPDATE, at_s, length_us, events, times, count)
                    closed_s = at_s + lognormal(state, close_lag, 0.4)
                    if uniform(state) < close_share and closed_s < leave_s:
                        count = put(RELEASE, closed_s, length_us, events, times, count)
                        at_s = closed_s
                    at_s += 1.0 + lognormal(state, update_gap / speed, update_sigma)
            now_s = leave_s
            off = uniform(state) < detach_share
        if off:
            count = put(DETACH, now_s, length_us, events, times, count)
            now_s += 1.0 + lognormal(state, off_median, off_sigma)
            count = put(ATTACH, now_s, length_us, events, times, count)
        else:
            count = put(REQUEST, now_s, length_us, events, times, count)
    return count
