"""Drawing streams from a semi-Markov model."""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.traffic.smm.delay_tables import DelayTables
from penstock.traffic.truth.draws import U64, start, uniform

I16 = NDArray[np.int16]
NEVER_US = 2**62
NOTHING = -1


class Law(NamedTuple):
    """A :class:`~penstock.traffic.smm.model.SemiMarkov` as arrays; ``most`` bounds the events of a stream."""

    group_class: I64
    group_weight: F64
    begin: DelayTables
    begin_state: I16
    stays: DelayTables
    inner: DelayTables
    next_state: I16
    within: I64
    window_us: int
    most: int


@compiled
def _group(rng: U64, law: Law, klass: int) -> int:
    """A group of ``klass`` by its weight."""
    place, found = uniform(rng), -1
    for g in range(len(law.group_class)):
        if law.group_class[g] == klass and law.group_weight[g] > 0.0:
            found = g
            place -= law.group_weight[g]
            if place < 0.0:
                break
    return found


@compiled
def _choose(rng: U64, chance: F64, allowed: NDArray[np.bool_], must: bool) -> int:
    """An event by its chance among those allowed, or NOTHING with the chance that is left; ``must``: one comes."""
    total = 0.0
    for code in range(len(chance)):
        if allowed[code]:
            total += chance[code]
    place = uniform(rng) * (total if must else max(total, 1.0))
    last = NOTHING
    for code in range(len(chance)):
        if allowed[code] and chance[code] > 0.0:
            place -= chance[code]
            last = code
            if place < 0.0:
                return code
    return last if must else NOTHING


@compiled
def _delay(rng: U64, table: DelayTables, group: int, slot: int, code: int) -> int:
    """A delay in microseconds by the inverse of its distribution, linear between the tabulated quantiles."""
    begin, size = int(table.begin[group, slot, code]), int(table.size[group, slot, code])
    place = uniform(rng) * size - 0.5
    low = min(max(math.floor(place), 0), size - 1)
    high = min(low + 1, size - 1)
    share = min(max(place - low, 0.0), 1.0)
    log_delay = table.points[begin + low] * (1.0 - share) + table.points[begin + high] * share
    return max(0, math.floor(math.expm1(log_delay) + 0.5))


@compiled
def _draw(
    rng: U64, table: DelayTables, group: int, slot: int, allowed: NDArray[np.bool_], must: bool
) -> tuple[int, int]:
    """The next event from a slot and the delay before it; (NOTHING, NEVER_US) if none comes."""
    code = _choose(rng, table.chance[group, slot], allowed, must)
    if code == NOTHING:
        return NOTHING, NEVER_US
    return code, _delay(rng, table, group, slot, code)


@compiled
def _stays_inside(law: Law, state: int, allowed: NDArray[np.bool_]) -> None:
    """Set ``allowed`` for the events that are legal in ``state`` and stay within its wider state."""
    for e in range(len(allowed)):
        reached = law.next_state[state, e]
        allowed[e] = reached >= 0 and law.within[reached] == law.within[state]


@compiled
def one_stream(law: Law, key: int, number: int, klass: int, events: I16, times: I64) -> int:
    """Draw stream ``number``; how many events it has. Only those that fit the arrays are written."""
    rng = np.empty(1, np.uint64)
    start(rng, key, number)
    group = _group(rng, law, klass)
    kinds = law.next_state.shape[1]
    anything, inside = np.ones(kinds, np.bool_), np.ones(kinds, np.bool_)
    code, now_us = _draw(rng, law.begin, group, 0, anything, True)
    now_us = min(now_us, law.window_us - 1)
    state, count = np.int64(law.begin_state[group, code]), 0
    entered, exit_code, exit_us, last = True, NOTHING, NEVER_US, code
    while now_us < law.window_us:
        if count < len(events):
            events[count], times[count] = code, now_us
        count += 1
        if count >= law.most:
            break
        wide = law.within[state]
        if entered:
            # A stay begins; after the first event it goes on as if it began there.
            exit_code, wait_us = _draw(rng, law.stays, group, wide, anything, False)
            exit_us = now_us + wait_us
            last = kinds if count > 1 else code
            entered = False
        _stays_inside(law, state, inside)
        inner_code, wait_us = _draw(rng, law.inner, group, wide * (kinds + 1) + last, inside, False)
        if now_us + wait_us < exit_us:
            code, now_us, last = inner_code, now_us + wait_us, inner_code
        elif exit_code != NOTHING and law.next_state[state, exit_code] >= 0:
            code, now_us, entered = exit_code, exit_us, True
        else:
            break  # nothing comes, or the state inside does not allow the way out
        state = np.int64(law.next_state[state, code])
    return count


@compiled
def all_streams(law: Law, key: int, klass: I16, first: I64, event: I16, time_us: I64, sizes: I64) -> None:
    """Every stream: its size into ``sizes``; its events into the rows from ``first`` on, unless the arrays are
    empty."""
    for i in range(len(klass)):
        if len(event):
            events, times = event[first[i] : first[i + 1]], time_us[first[i] : first[i + 1]]
        else:
            events, times = event, time_us
        sizes[i] = one_stream(law, key, i, klass[i], events, times)
