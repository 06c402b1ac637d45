"""Delays as tables: the chance of each event, and quantiles of the delay before it.

Delays that the window or the stay cut short are not left out, which would favour short ones: the product-limit
estimate (Kaplan and Meier 1958) gives each observed delay its mass, and what remains is the chance that nothing
comes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.traffic.smm.records import CENSORED, Delays

MOST_POINTS = 256
"""Quantiles kept of the delays before one event from one slot; fewer if there are fewer delays."""
FEWEST = 8
"""Delays from a slot of a group, cut short or not; with fewer the group takes the slot of its whole class."""


class DelayTables(NamedTuple):
    """``chance`` (groups, slots, events): of each event; what is missing to 1 is the chance of none.

    The quantiles of the delay's logarithm (microseconds + 1) before event e from slot s in group g are
    ``points[begin[g, s, e] : begin[g, s, e] + size[g, s, e]]``, at the middles of so many equal shares.
    """

    chance: F64
    begin: I64
    size: I64
    points: NDArray[np.float32]


def product_limit(delay_us: I64, event: I64) -> F64:
    """The mass of each delay, 0 for a censored one: (delays,). At one time, ends come before censorings."""
    order = np.lexsort((event == CENSORED, delay_us))
    ended = event[order] != CENSORED
    at_risk = len(order) - np.arange(len(order))
    survival = np.cumprod(np.where(ended, 1.0 - 1.0 / at_risk, 1.0))
    mass = np.empty(len(order))
    mass[order] = np.where(ended, np.concatenate([[1.0], survival[:-1]]) / at_risk, 0.0)
    return mass


def weighted_quantiles(log_delay: F64, mass: F64, points: int) -> F64:
    """The quantiles of weighted values at the middles of ``points`` equal shares."""
    order = np.argsort(log_delay, kind="stable")
    middles = np.cumsum(mass[order]) - mass[order] / 2
    places = (np.arange(points) + 0.5) / points * mass.sum()
    quantiles: F64 = np.interp(places, middles, log_delay[order])
    return quantiles


def tabulate(
    delays: Delays, group_of_stream: I64, groups: int, whole: I64, slots: int, events: int
) -> DelayTables:
    """Tables of every group; ``whole[g]`` is the group that stands for g's class (itself for those).

    Each stream counts for its group and for that group's ``whole``.
    """
    group = group_of_stream[delays.stream]
    chance = np.zeros((groups, slots, events))
    begin, size = np.zeros((groups, slots, events), np.int64), np.zeros((groups, slots, events), np.int64)
    points: list[NDArray[np.float32]] = []
    filled = 0
    for index, members in _cells(group, whole[group], delays.slot, slots):
        delay_us, event = delays.delay_us[members], delays.event[members]
        ended = event != CENSORED
        if len(ended) < FEWEST and index[0] != whole[index[0]]:
            continue
        mass = product_limit(delay_us, event)
        for code in np.unique(event[ended]).tolist():
            chosen = event == code
            count = min(int(chosen.sum()), MOST_POINTS)
            made = weighted_quantiles(np.log1p(delay_us[chosen].astype(np.float64)), mass[chosen], count)
            chance[index][code] = mass[chosen].sum()
            begin[index][code], size[index][code] = filled, count
            points.append(made.astype(np.float32))
            filled += count
        # A slot that was seen, but never left, is kept as one without events: see below.
        if not ended.any():
            size[index][0] = -1
    for g in range(groups):
        missing = ~np.any(size[g] != 0, axis=1)
        chance[g, missing], begin[g, missing] = chance[whole[g], missing], begin[whole[g], missing]
        size[g, missing] = size[whole[g], missing]
    return DelayTables(chance, begin, np.maximum(size, 0), np.concatenate([np.zeros(0, np.float32), *points]))


def _cells(group: I64, whole: I64, slot: I64, slots: int) -> list[tuple[tuple[int, int], I64]]:
    """The rows of each (group, slot), and of each (whole, slot)."""
    found = []
    for owner in (group, whole):
        key = owner * slots + slot
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        for begin, end in zip(starts, np.append(starts[1:], len(ordered)), strict=True):
            found.append((divmod(int(ordered[begin]), slots), order[begin:end]))
    return found
