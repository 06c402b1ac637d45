"""How much capacity a load needs, by how many requests may wait.

Requests that can still be worked off in time are the *depth* of a model's pools: ``K = sum of rate * slack`` over its
pipelines, with ``slack = SLO - latency``. A pipeline with little slack serves the load, one with much slack serves the
backlog. Besides them, one request is in work if nothing waits. So capacity C and depth K serve about what a token
bucket of rate C and depth K + 1 serves (``docs/goodput-bound.md``). For each depth the least capacity whose bucket
holds the target is found on the very arrivals. This curve is convex. As the largest of its chords,

    capacity / rate  >=  level[j] - slope[j] * depth        for all j,

it fits into a linear program. For Poisson arrivals the curve is that of Ward and Glynn ("A diffusion approximation for
a Markovian queue with reneging", Queueing Systems 2003); for bursts nothing needs to be assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64
from penstock.plan.goodput_bound.paths import Paths
from penstock.plan.goodput_bound.token_bucket_kernels import SERVED, serve_from_bucket

DEPTHS = 16
"""Depths at which the need is found, in equal ratios from what arrives within an SLO down to :data:`LEAST_DEPTH` of
it. Above it more of the same ratio follow, if mostly idle pools can let more requests wait."""

LEAST_DEPTH = 0.005

LEAST_NEED, MOST_NEED = 0.5, 64.0
"""Capacity as a multiple of the load. A load that needs more at some depth is planned as if it needed this."""

IN_WORK = 1.0
"""Requests in work if none waits. Large pools work at many at once, but the last of their idle workers hardly count."""

MOSTLY_IDLE = 1.5
"""Pools of more than so many times the load work off more requests within an SLO than arrive in it on average."""

CLIFF = 0.02
"""If no capacity serves the target at some depth, the need rises to the most within this part of the last depth."""

HALVINGS = 13


@dataclass(frozen=True)
class CapacityNeed:
    """Lines (n,): the need is at least each of ``level - slope * depth``, as a multiple of the load."""

    level: F64
    slope: F64

    def served_rps(self, rate_rps: float, capacity_rps: float, depth: float) -> float:
        """What ``capacity_rps`` and ``depth`` requests serve, by the lines for a load of ``rate_rps``."""
        return float(((capacity_rps + self.slope * rate_rps * depth) / self.level).min())


def capacity_need(times_s: Sequence[F64], rate_rps: float, slo_depth: float, target: float) -> CapacityNeed:
    """The need of the arrivals ``times_s``, sorted, one array for each run, of ``rate_rps`` requests per second.

    ``slo_depth``: how many requests arrive within an SLO. ``target``: the share of the requests that must be served.
    """
    points: list[tuple[float, float]] = []
    factor, least = MOST_NEED, LEAST_NEED
    if _serves(times_s, rate_rps * MOST_NEED, slo_depth, target):
        factor = _least_capacity(times_s, rate_rps, slo_depth, target, LEAST_NEED)
        if factor <= MOSTLY_IDLE:  # no deeper backlog is of use, so this is the first point
            points, least, factor = [(slo_depth, factor)], factor, 1.0
    count = 1 + round((DEPTHS - 1) * (1 - np.log(factor) / np.log(LEAST_DEPTH)))
    depths = slo_depth * factor * np.geomspace(1.0, LEAST_DEPTH / factor, count)
    for depth in depths[len(points) :].tolist():
        if not _serves(times_s, rate_rps * MOST_NEED, depth, target):
            if points:
                # Bursts are larger than the depth: the curve has an end, with a cliff if they come all at once.
                edge = _least_depth(times_s, rate_rps, depth, points[-1][0], target)
                points.append((edge, _least_capacity(times_s, rate_rps, edge, target, least)))
                points.append(((1.0 - CLIFF) * edge, MOST_NEED))
            break
        least = _least_capacity(times_s, rate_rps, depth, target, least)
        points.append((depth, least))
    return _chords(points[::-1] or [(float(depths[0]), MOST_NEED)])


def _least_capacity(
    times_s: Sequence[F64], rate_rps: float, depth: float, target: float, low: float
) -> float:
    """The least capacity from ``low`` times the rate on that serves ``target`` at ``depth``, as a multiple of it."""
    high = MOST_NEED
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _serves(times_s, rate_rps * middle, depth, target) else (middle, high)
    return high


def _least_depth(times_s: Sequence[F64], rate_rps: float, low: float, high: float, target: float) -> float:
    """The least depth from ``low`` to ``high`` at which :data:`MOST_NEED` serves ``target``."""
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (
            (low, middle) if _serves(times_s, rate_rps * MOST_NEED, middle, target) else (middle, high)
        )
    return high


def _serves(times_s: Sequence[F64], capacity_rps: float, depth: float, target: float) -> bool:
    found = np.zeros(4)
    for one in times_s:
        serve_from_bucket(one, capacity_rps, depth + IN_WORK, found)
    return bool(found[SERVED] >= target * sum(len(one) for one in times_s))


def _chords(points: Sequence[tuple[float, float]]) -> CapacityNeed:
    """The lines of the lower convex hull of the ``points``, by depth, and the need at the largest depth."""
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    slope = [(high - low) / (right - left) for (left, high), (right, low) in itertools.pairwise(hull)]
    level = [high + steep * left for (left, high), steep in zip(hull, slope, strict=False)]
    return CapacityNeed(np.array([*level, hull[-1][1]]), np.array([*slope, 0.0]))


def _is_above(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether ``middle`` is on or above the line from ``left`` to ``right``."""
    part = (middle[0] - left[0]) / (right[0] - left[0])
    return middle[1] >= left[1] + part * (right[1] - left[1])


def own_needs(paths: Paths, slo_s: F64, target: float) -> Callable[[Sequence[float]], list[CapacityNeed]]:
    """The need of each model's own arrivals, at given rates (models,)."""

    def needs(rates_rps: Sequence[float]) -> list[CapacityNeed]:
        drawn = paths(rates_rps)
        return [
            capacity_need([path[m] for path in drawn], rate, rate * float(slo_s[m]), target)
            for m, rate in enumerate(rates_rps)
        ]

    return needs


def pooled_needs(paths: Paths, slo_s: F64, target: float) -> Callable[[Sequence[float]], list[CapacityNeed]]:
    """The need of all models' arrivals together, at given rates (models,): each model has its part of the backlog.

    A request of one model counts as much as one of another, though they differ in work.
    """

    def needs(rates_rps: Sequence[float]) -> list[CapacityNeed]:
        together = [np.sort(np.concatenate(path)) for path in paths(rates_rps)]
        total = sum(rates_rps)
        found = [capacity_need(together, total, total * float(slo), target) for slo in slo_s]
        return [
            CapacityNeed(need.level, need.slope * (total / rate))
            for need, rate in zip(found, rates_rps, strict=True)
        ]

    return needs
