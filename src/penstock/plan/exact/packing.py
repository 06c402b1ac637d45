"""Packing: how many devices hold given shares, exactly.

A worker on share ``s`` takes 1/s of a device. Full devices of one share waste nothing. So only the left-over
workers, fewer than ``s`` of each share, need a check. For shares up to 4, and if each share divides the next one,
they always fit into their sum rounded up (:func:`packs_by_sum` tries all cases). Then a program needs only
the sum. This is not true in general: 1/2 + 2/3 + 4/5 < 2, but two devices do not hold these seven workers. Then
a device is filled by a *pattern*, a multiset of shares to which no further share can be added. Whole numbers of
patterns make packing exact (Gilmore, Gomory, "A linear programming approach to the cutting-stock problem",
Operations Research 9(6), 1961).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from penstock.errors import BadInputError
from penstock.plan.highs import Effort, Rows, run, values

MOST_CASES = 2_000
"""Up to so many left-over cases are tried one by one. Shares with more cases are packed by patterns."""

MOST_NODES = 20_000
"""The most nodes of the depth-first packing of left-over workers."""

MOST_PATTERNS = 20_000
"""Shares 1 to 12 have 6,748 patterns. With more, a program over patterns is too large to be useful."""


@cache
def packs_by_sum(shares: tuple[int, ...]) -> bool:
    """Whether all combinations of workers on ``shares`` (ascending) fit into the sum of their parts, rounded up."""
    if all(larger % smaller == 0 for smaller, larger in itertools.pairwise(shares)):
        return True
    if math.prod(shares) > MOST_CASES:
        return False
    unit = math.lcm(*shares)
    for left_over in itertools.product(*(range(share) for share in shares)):
        sizes = [
            unit // share for share, n in zip(shares, left_over, strict=True) for _ in range(n)
        ]  # decreasing
        if fit(sizes, unit, -(-sum(sizes) // unit)) is None:
            return False
    return True


@cache
def patterns(shares: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Every way to fill a device with workers on ``shares`` (ascending): the number of workers on each share.

    Raises :class:`BadInputError` if there are more than :data:`MOST_PATTERNS`.
    """
    unit = math.lcm(*shares)
    sizes = [unit // share for share in shares]
    found: list[tuple[int, ...]] = []

    def extend(chosen: tuple[int, ...], room: int) -> None:
        if len(chosen) == len(sizes):
            if room < sizes[-1]:
                found.append(chosen)
            if len(found) > MOST_PATTERNS:
                raise BadInputError(
                    f"shares {', '.join(map(str, shares))} of one device class can be mixed on a device in more "
                    f"than {MOST_PATTERNS} ways. Lower max_share of the class (12 is fine)."
                )
            return
        size = sizes[len(chosen)]
        for number in range(room // size, -1, -1):
            extend((*chosen, number), room - number * size)

    extend((), unit)
    return tuple(found)


def fewest_devices(workers: Mapping[int, int]) -> int:
    """The fewest devices that hold ``workers``, a number for each share."""
    return len(pack(workers))


def pack(workers: Mapping[int, int]) -> list[dict[int, int]]:
    """``workers``, a number for each share, on the fewest devices: by share, what each device holds.

    Devices full of one share come first.
    """
    full = [{share: share} for share in sorted(workers) for _ in range(workers[share] // share)]
    left_over = [share for share in sorted(workers) for _ in range(workers[share] % share)]
    if not left_over:
        return full
    unit = math.lcm(*left_over)
    sizes = [unit // share for share in left_over]
    bins = fit(sizes, unit, -(-sum(sizes) // unit))
    if bins is None:
        return _pack_by_patterns({share: n for share, n in workers.items() if n})
    mixed: list[dict[int, int]] = [{} for _ in range(max(bins) + 1)]
    for share, index in zip(left_over, bins, strict=True):
        mixed[index][share] = mixed[index].get(share, 0) + 1
    return full + mixed


def fit(sizes: Sequence[int], unit: int, limit: int) -> list[int] | None:
    """A bin of ``unit`` for each of the decreasing ``sizes``, with at most ``limit`` bins. None if none is found.

    The search is depth first, so its first try is first-fit decreasing, which seldom fails. It is complete up to
    :data:`MOST_NODES` nodes. If it finds nothing, patterns decide.
    """
    free = [unit] * limit
    bins: list[int] = []
    nodes = 0

    def place(k: int) -> bool:
        nonlocal nodes
        nodes += 1
        if k == len(sizes):
            return True
        tried: set[int] = set()
        for index in range(limit):
            # Bins with the same free space are interchangeable: try only one of them.
            if free[index] < sizes[k] or free[index] in tried or nodes > MOST_NODES:
                continue
            tried.add(free[index])
            free[index] -= sizes[k]
            bins.append(index)
            if place(k + 1):
                return True
            bins.pop()
            free[index] += sizes[k]
        return False

    return bins if place(0) else None


def _pack_by_patterns(workers: Mapping[int, int]) -> list[dict[int, int]]:
    """The fewest devices, by the cutting-stock program. It is an integer program, because few shares are mixed."""
    shares = tuple(sorted(workers))
    rows = Rows()
    ways = patterns(shares)
    columns = [rows.column(cost=-1.0, integer=True) for _ in ways]
    for k, share in enumerate(shares):
        holds = [(column, float(way[k])) for column, way in zip(columns, ways, strict=True) if way[k]]
        rows.row(holds, lower=float(workers[share]))
    solver = run(rows, Effort(gap=0.0, time_limit_s=math.inf))
    value = np.rint(values(solver, len(columns)))
    left = dict(workers)
    devices: list[dict[int, int]] = []
    for way, number in zip(ways, value.astype(int).tolist(), strict=True):
        for _ in range(number):
            device = {share: min(n, left[share]) for share, n in zip(shares, way, strict=True) if n}
            for share, n in device.items():
                left[share] -= n
            devices.append({share: n for share, n in device.items() if n})
    return [device for device in devices if device]
