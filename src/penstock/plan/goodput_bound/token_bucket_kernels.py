"""How many requests a capacity can serve in time: token buckets over given arrivals, as kernels.

If at most ``rate * T + depth`` of the requests that arrive within any interval of length T can be served, then a token
bucket that starts full says how many can be served in all. An arrival takes what is there, up to one token, so a part
of a request may be served. This makes the result an upper bound for whole requests, and a concave function of
``rate`` and ``depth``: it is the value of a linear program that has them on its right-hand side.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math

from penstock.arrays import F64
from penstock.schedule.kernel import inner, kernel

SERVED, EPISODES, LENGTH_S, OUTSIDE = 0, 1, 2, 3
"""Places in the result of :func:`serve_from_bucket`."""

_NOTHING, _INSTANT_S = 1e-9, 1e-9
"""Less of a request, and less time, does not count."""


@kernel
def serve_from_bucket(time_s: F64, rate_rps: float, depth: float, found: F64) -> None:
    """Add to ``found`` (4,) what a bucket serves of the arrivals at ``time_s``, sorted, and the proof of it.

    An *episode* begins when the bucket is full for the last time before it runs empty, and ends when it is empty for
    the last time before it is full again. Within each, ``rate * length + depth`` are served. So for the episodes found
    here, ``served <= LENGTH_S * rate + EPISODES * depth + OUTSIDE`` holds for *every* rate and depth, with equality
    for these. OUTSIDE counts the arrivals outside the episodes.
    """
    tokens = depth
    before_s = full_s = empty_s = 0.0
    since_empty = waiting = 0
    if len(time_s):
        before_s = full_s = time_s[0]
    for index in range(len(time_s)):
        now_s = time_s[index]
        tokens += rate_rps * (now_s - before_s)
        before_s = now_s
        if tokens >= depth:
            tokens = depth
            if waiting:
                # The episode is over: what came after it ran empty for the last time is outside.
                found[EPISODES] += 1.0
                found[LENGTH_S] += empty_s - full_s
                found[OUTSIDE] += since_empty
                waiting = 0
            else:
                found[OUTSIDE] += since_empty
            full_s = now_s
            since_empty = 0
        if tokens >= 1.0:
            tokens -= 1.0
            found[SERVED] += 1.0
            since_empty += 1
        else:
            found[SERVED] += tokens
            tokens = 0.0
            empty_s = now_s
            waiting = 1
            since_empty = 0
    if waiting:
        found[EPISODES] += 1.0
        found[LENGTH_S] += empty_s - full_s
    found[OUTSIDE] += since_empty


@kernel
def serve_volumes(time_s: F64, volume: F64, rate: float, depth: float) -> float:
    """The volume that a bucket serves, if the arrival at ``time_s`` has ``volume`` (both (n,)); parts may be served."""
    tokens, before_s, served = depth, 0.0, 0.0
    if len(time_s):
        before_s = time_s[0]
    for index in range(len(time_s)):
        tokens = min(depth, tokens + rate * (time_s[index] - before_s))
        before_s = time_s[index]
        taken = min(tokens, volume[index])
        tokens -= taken
        served += taken
    return served


@kernel
def serve_from_pipelines(time_s: F64, rate_rps: F64, window_s: F64, free_s: F64) -> float:
    """How many arrivals can be served by pipelines that each serve ``rate_rps`` (pipelines,).

    Capacity of pipeline p at time t can serve what arrived within ``[t - window_s[p], t]``. Each arrival takes the
    earliest capacity that is left: in a bipartite graph of this kind this serves the most (Glover, "Maximum matching in
    a convex bipartite graph", Naval Research Logistics Quarterly 1967). ``free_s`` (pipelines,) is room for the times
    up to which capacity is taken; parts of a request may go to several pipelines.
    """
    served = 0.0
    for pipeline in range(len(free_s)):
        free_s[pipeline] = -1.0
    for index in range(len(time_s)):
        now_s = time_s[index]
        left = 1.0
        while left > _NOTHING:
            level_s = _earliest_capacity(now_s, window_s, free_s)
            if level_s == math.inf:
                break
            part = _fill(now_s, level_s, left, rate_rps, window_s, free_s)
            left -= part
            served += part
    return served


@inner
def _earliest_capacity(now_s: float, window_s: F64, free_s: F64) -> float:
    """From when on some pipeline can serve an arrival of ``now_s``; infinite if none can."""
    level_s = math.inf
    for pipeline in range(len(free_s)):
        begin_s = max(free_s[pipeline], now_s)
        if begin_s < now_s + window_s[pipeline] - _INSTANT_S:
            level_s = min(level_s, begin_s)
    return level_s


@inner
def _fill(now_s: float, level_s: float, left: float, rate_rps: F64, window_s: F64, free_s: F64) -> float:
    """Take the capacity of all pipelines that are free at ``level_s``, together, until another one or an end comes."""
    rate, until_s = 0.0, math.inf
    for pipeline in range(len(free_s)):
        begin_s, end_s = max(free_s[pipeline], now_s), now_s + window_s[pipeline]
        if begin_s >= end_s - _INSTANT_S:
            continue
        if begin_s <= level_s + _INSTANT_S:
            rate += rate_rps[pipeline]
            until_s = min(until_s, end_s)
        else:
            until_s = min(until_s, begin_s)
    until_s = min(until_s, level_s + left / rate)
    for pipeline in range(len(free_s)):
        begin_s = max(free_s[pipeline], now_s)
        if begin_s <= level_s + _INSTANT_S and begin_s < now_s + window_s[pipeline] - _INSTANT_S:
            free_s[pipeline] = until_s
    return rate * (until_s - level_s)
