"""Slicing: the best cut of one topological order into at most k contiguous runs. It is exact, in memory O(n + m).

Column r holds the cost of every run [l, r]. It follows from column r - 1 by what operator r changes:

- Its work is added to all l <= r.
- A tensor used at r, last touched (made or used) at c', is received by the runs c' < l <= r.
- A tensor made at r is sent by all l <= r until its last use, which subtracts it again for all l <= maker.

Each is one entry of a difference array over l. So all n^2 costs take O(n^2 + m) time, and no n^2 array is ever
in memory. (Archer et al., ICML 2024, section 4, keep the 2-D difference array. Here it is computed column by column.)

A search over a limit T finds the bottleneck. The fewest runs of cost <= T that cover a prefix follow from
column to column. Costs are not monotone in l (a longer run may cost less, because a tensor stays inside). So
greedy runs would be wrong, and every l is tried. But cost >= work, so runs with work > T are never touched. A test
takes O(n w + m), where w is the longest run with work <= T. A failed test also gives the least cost above T. So the
search ends at an exact optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.partition.incidence import Incidence

ROUNDING = 1e-9
"""Costs count as equal if their relative difference is less than this: they are sums of thousands of doubles."""


@dataclass(frozen=True)
class Slicing:
    """``ends``: exclusive ends of the runs, ascending, at most k. ``bottleneck``: the cost of the worst run."""

    bottleneck: float
    ends: I64

    def blocks(self, order: I64) -> I64:
        """The block of each operator for the ``order`` that was cut: int64, shape (n,)."""
        block = np.empty(len(order), np.int64)
        block[order] = np.searchsorted(self.ends, np.arange(len(order)), side="right")
        return block


def best_slicing(
    graph: Incidence, order: I64, k: int, *, below: float = np.inf, tolerance: float = ROUNDING
) -> Slicing | None:
    """The slicing of ``order`` (int64, shape (n,)) with the least bottleneck. None if none is under ``below``.

    The bottleneck exceeds the optimum of this order by at most the relative ``tolerance``.
    """
    value, ends = _search(graph, order, k, below, tolerance)
    return Slicing(float(value), ends) if len(ends) else None


def segment_costs(graph: Incidence, order: I64) -> F64:
    """The cost of each run [l, r] of ``order``: float64, shape (n, n), infinite if l > r. For small n."""
    costs: F64 = _all_costs(graph, order)
    return costs


@compiled
def advance_column(graph, order, position, r, low, column, change, touched, waiting):  # type: ignore[no-untyped-def]
    """Turn column r - 1 into column r for l in [low, r]. ``change`` is zero before and after.

    ``touched`` is where each tensor was last made or used. ``waiting`` is how many users it still has.
    """
    operator = order[r]
    column[r] = 0.0
    change[r] = graph.work[operator]
    for i in range(graph.used_first[operator], graph.used_first[operator + 1]):
        tensor = graph.used[i]
        time = graph.time[tensor]
        change[r] += time
        if touched[tensor] >= low:
            change[touched[tensor]] -= time
        touched[tensor] = r
        waiting[tensor] -= 1
        maker = graph.maker[tensor]
        if waiting[tensor] == 0 and maker >= 0 and position[maker] >= low:
            change[position[maker]] -= time
    for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
        tensor = graph.made[i]
        touched[tensor] = r
        if waiting[tensor] > 0:
            change[r] += graph.time[tensor]
    running = 0.0
    for start in range(r, low - 1, -1):
        running += change[start]
        change[start] = 0.0
        column[start] += running


@compiled
def positions(order):  # type: ignore[no-untyped-def]
    """The inverse of the permutation ``order``."""
    position = np.empty(len(order), np.int64)
    for r in range(len(order)):
        position[order[r]] = r
    return position


@compiled
def _fewest_runs(graph, order, position, limit, most):  # type: ignore[no-untyped-def]
    """The fewest runs of cost <= ``limit``: (count, start of the last run by end, worst cost used, least above).

    ``least above`` is a lower bound on every cost above the limit: touched runs by cost, the others by work.
    Count is ``most + 1`` if ``most`` runs are not enough.
    """
    n = len(order)
    column, change = np.zeros(n), np.zeros(n)
    touched = np.full(len(graph.time), -1, np.int64)
    waiting = graph.n_users.copy()
    fewest = np.full(n + 1, most + 1, np.int64)
    fewest[0] = 0
    worst = np.zeros(n + 1)
    before = np.zeros(n + 1, np.int64)
    above = np.inf
    low, run_work = 0, 0.0
    with_memory = graph.memory_time < np.inf
    for r in range(n):
        run_work += graph.work[order[r]]
        # Slightly above the limit: the sum of works has its own rounding errors.
        while run_work > limit * (1 + 1e-12) and low < r:
            above = min(above, run_work)
            run_work -= graph.work[order[low]]
            low += 1
        advance_column(graph, order, position, r, low, column, change, touched, waiting)
        least, at, cost_at = most + 1, 0, 0.0
        need, peak = 0.0, 0.0
        for start in range(r, low - 1, -1):
            cost = column[start]
            if with_memory:
                need += graph.parameter_time[order[start]]
                peak = max(peak, graph.activation_time[order[start]])
                cost += max(need + peak - graph.memory_time, 0.0)
            if cost <= limit:
                if fewest[start] + 1 < least:
                    least, at, cost_at = fewest[start] + 1, start, cost
            elif cost < above:
                above = cost
        fewest[r + 1], before[r + 1], worst[r + 1] = least, at, max(worst[at], cost_at)
    return fewest[n], before, worst[n], above


@compiled
def _search(graph, order, k, below, tolerance):  # type: ignore[no-untyped-def]
    """Search on the limit: ``high`` is reached, nothing under ``low`` is. Empty ends if none is < ``below``."""
    position = positions(order)
    low = max(graph.work.sum() / k, graph.work.max()) * (1 - 1e-12)
    high = below
    found = np.zeros(0, np.int64)
    excess = 0.02
    while high - low > tolerance * high or (high == np.inf):
        # First try near the optimum, then wider: a test with a low limit is cheap.
        limit = low * (1 + excess) if low > 0 else 1e-6 * graph.time.sum() + excess
        excess *= 2
        if limit >= high or len(found):
            limit = max(low, low + (high - low) / 2)
        count, before, worst, above = _fewest_runs(graph, order, position, limit, k)
        if count <= k:
            high = worst
            found = _ends(before, count)
        else:
            low = max(above, limit)
        if low == 0.0 and high == 0.0:
            break
    return high, found


@compiled
def _ends(before, count):  # type: ignore[no-untyped-def]
    ends = np.empty(count, np.int64)
    end = len(before) - 1
    for run in range(count - 1, -1, -1):
        ends[run] = end
        end = before[end]
    return ends


@compiled
def _all_costs(graph, order):  # type: ignore[no-untyped-def]
    n = len(order)
    costs = np.full((n, n), np.inf)
    column, change = np.zeros(n), np.zeros(n)
    touched = np.full(len(graph.time), -1, np.int64)
    waiting = graph.n_users.copy()
    position = positions(order)
    for r in range(n):
        advance_column(graph, order, position, r, 0, column, change, touched, waiting)
        need, peak = 0.0, 0.0
        for start in range(r, -1, -1):
            need += graph.parameter_time[order[start]]
            peak = max(peak, graph.activation_time[order[start]])
            costs[start, r] = column[start] + max(need + peak - graph.memory_time, 0.0)
    return costs
