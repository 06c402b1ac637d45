"""Paths from the first to the last node of a stage graph under a latency limit and a cost limit.

A label-setting dynamic program for the shortest path with one resource (Irnich and Desaulniers, "Shortest Path
Problems with Resource Constraints", in "Column Generation", Springer 2005, section 4). It runs from the end. So
its labels are also the exact limits for the rest of a partial path. With these limits, the listing of
all paths within both limits takes no step that cannot be completed.

Arrays are those of :class:`penstock.plan.templates.space.StageArcs` for one batch. ``cost`` is by arc. A state is
(stages used, node), numbered ``used * nodes + node``. Limits include a tolerance: sums have another order here.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled

FIRST_ROOM = 256

ROUNDING = 1e-12
"""Sums of the same few terms in another order differ by less than this, relatively."""


class Graph(NamedTuple):
    """One batch's arcs with their costs, and the limits of a path."""

    levels: int
    first: I64
    target: I64
    latency: F64
    cost: F64
    max_stages: int
    most_latency: float
    most_cost: float


class Completions(NamedTuple):
    """Undominated ways to the end. State ``x`` has those from ``start[x]`` to ``stop[x]``: latency up, cost down."""

    start: I64
    stop: I64
    latency: F64
    cost: F64


@compiled(nogil=True)
def least_before(graph: Graph, weight: F64) -> F64:
    """The least sum of ``weight`` over paths to each state: (max_stages * nodes,). Infinite if there is no path."""
    nodes = len(graph.first) - 1
    least = np.full(graph.max_stages * nodes, np.inf)
    for root in range(0, graph.levels * graph.levels, graph.levels + 1):
        least[root] = 0.0
    for used in range(graph.max_stages - 1):
        for node in range(nodes - 1):
            here = least[used * nodes + node]
            if here == np.inf:
                continue
            for arc in range(graph.first[node], graph.first[node + 1]):
                state = (used + 1) * nodes + graph.target[arc]
                least[state] = min(least[state], here + weight[arc])
    return least


@compiled(nogil=True)
def insert(latency: F64, cost: F64, size: int, new_latency: float, new_cost: float) -> int:
    """Add a label to a Pareto front of ``size`` (latency rises, cost falls) if it is undominated. The new size."""
    at = int(np.searchsorted(latency[:size], new_latency))
    if at > 0 and cost[at - 1] <= new_cost:
        return size
    if at < size and latency[at] == new_latency and cost[at] <= new_cost:
        return size
    kept = at
    while kept < size and cost[kept] >= new_cost:
        kept += 1
    grown = size - kept + at + 1
    if kept == at:
        for k in range(size, at, -1):
            latency[k], cost[k] = latency[k - 1], cost[k - 1]
    elif kept > at + 1:
        for k in range(at + 1, grown):
            latency[k], cost[k] = latency[k + kept - at - 1], cost[k + kept - at - 1]
    latency[at], cost[at] = new_latency, new_cost
    return grown


@compiled(nogil=True)
def roomier(array: F64, size: int, need: int) -> F64:
    """``array`` with space for ``need`` elements. The first ``size`` elements are kept."""
    if need <= len(array):
        return array
    grown = np.empty(max(need, 2 * len(array)), array.dtype)
    grown[:size] = array[:size]
    return grown


@compiled(nogil=True)
def completions(graph: Graph) -> Completions:
    """The undominated ways from every state to the end that some path within both limits uses."""
    nodes = len(graph.first) - 1
    soonest = least_before(graph, graph.latency)
    cheapest = least_before(graph, graph.cost)
    start = np.zeros(graph.max_stages * nodes, np.int64)
    stop = np.zeros(graph.max_stages * nodes, np.int64)
    latency, cost = np.empty(FIRST_ROOM), np.empty(FIRST_ROOM)
    own_latency, own_cost = np.empty(FIRST_ROOM), np.empty(FIRST_ROOM)
    made = 0
    for state in range(graph.max_stages * nodes - 1, -1, -1):
        used, node = state // nodes, state % nodes
        start[state] = stop[state] = made
        most_latency = graph.most_latency - soonest[state]
        most_cost = graph.most_cost - cheapest[state]
        if node == nodes - 1 or not most_latency > 0.0:
            continue
        size = 0
        for arc in range(graph.first[node], graph.first[node + 1]):
            arc_latency, arc_cost = graph.latency[arc], graph.cost[arc]
            if arc_latency > most_latency or arc_cost > most_cost:
                continue
            own_latency = roomier(own_latency, size, size + 1)
            own_cost = roomier(own_cost, size, size + 1)
            if graph.target[arc] == nodes - 1:
                size = insert(own_latency, own_cost, size, arc_latency, arc_cost)
                continue
            if used + 1 == graph.max_stages:
                continue
            after = state + nodes - node + graph.target[arc]
            for k in range(start[after], stop[after]):
                if arc_latency + latency[k] > most_latency:
                    break
                if arc_cost + cost[k] > most_cost:
                    continue
                own_latency = roomier(own_latency, size, size + 1)
                own_cost = roomier(own_cost, size, size + 1)
                size = insert(own_latency, own_cost, size, arc_latency + latency[k], arc_cost + cost[k])
        latency, cost = roomier(latency, made, made + size), roomier(cost, made, made + size)
        latency[made : made + size] = own_latency[:size]
        cost[made : made + size] = own_cost[:size]
        made += size
        stop[state] = made
    return Completions(start, stop, latency[:made], cost[:made])


@compiled(nogil=True)
def cost_to_go(ways: Completions, state: int, room: float) -> float:
    """The least cost from ``state`` to the end within a latency of ``room``. Infinite if there is no such path."""
    start, stop = ways.start[state], ways.stop[state]
    at = start + np.searchsorted(ways.latency[start:stop], room, side="right")
    return ways.cost[at - 1] if at > start else np.inf


@compiled(nogil=True)
def least_cost(graph: Graph, ways: Completions) -> float:
    """The least cost of a path within the latency limit. Infinite if there is no such path."""
    least = np.inf
    for root in range(0, graph.levels * graph.levels, graph.levels + 1):
        least = min(least, cost_to_go(ways, root, graph.most_latency))
    return least


@compiled(nogil=True)
def cheapest_path(graph: Graph, ways: Completions) -> I64:
    """The arcs of the cheapest path within the latency limit, padded with -1: (max_stages,)."""
    nodes = len(graph.first) - 1
    path = np.full(graph.max_stages, -1)
    state, best = 0, np.inf
    for root in range(0, graph.levels * graph.levels, graph.levels + 1):
        here = cost_to_go(ways, root, graph.most_latency)
        if here < best:
            state, best = root, here
    if best == np.inf:
        return path
    # ``room`` comes from a subtraction, but labels are sums. A rounding error must not exclude a label.
    room = graph.most_latency * (1.0 + ROUNDING)
    for used in range(graph.max_stages):
        node, best = state % nodes, np.inf
        for arc in range(graph.first[node], graph.first[node + 1]):
            left = room - graph.latency[arc]
            if left < 0.0:
                continue
            after = 0.0
            if graph.target[arc] != nodes - 1:
                if used + 1 == graph.max_stages:
                    continue
                after = cost_to_go(ways, (used + 1) * nodes + graph.target[arc], left)
            if graph.cost[arc] + after < best:
                path[used], best = arc, graph.cost[arc] + after
        if path[used] < 0 or graph.target[path[used]] == nodes - 1:
            return path
        room -= graph.latency[path[used]]
        state = (used + 1) * nodes + graph.target[path[used]]
    return path


@compiled(nogil=True)
def paths(graph: Graph, ways: Completions, most: int) -> tuple[I64, bool]:
    """The arcs of all paths within both limits, padded with -1: (paths, max_stages). False if more than ``most``."""
    nodes = len(graph.first) - 1
    found = np.empty((FIRST_ROOM, graph.max_stages), np.int64)
    made = 0
    # Depth first: position ``used`` of the current path tries arcs from ``turn[used]`` onwards.
    turn, path = np.zeros(graph.max_stages, np.int64), np.full(graph.max_stages, -1)
    node_at = np.zeros(graph.max_stages, np.int64)
    latency_at, cost_at = np.zeros(graph.max_stages), np.zeros(graph.max_stages)
    for root in range(0, graph.levels * graph.levels, graph.levels + 1):
        used = 0
        node_at[0], turn[0] = root, graph.first[root]
        while used >= 0:
            arc = turn[used]
            if arc == graph.first[node_at[used] + 1]:
                path[used] = -1
                used -= 1
                continue
            turn[used] += 1
            latency = latency_at[used] + graph.latency[arc]
            cost = cost_at[used] + graph.cost[arc]
            if latency > graph.most_latency or cost > graph.most_cost:
                continue
            target = graph.target[arc]
            if target == nodes - 1:
                if made == most:
                    return found[:made], False
                if made == len(found):
                    grown = np.empty((2 * made, graph.max_stages), np.int64)
                    grown[:made] = found
                    found = grown
                path[used] = arc
                found[made] = path
                made += 1
            elif used + 1 < graph.max_stages:
                state = (used + 1) * nodes + target
                if cost + cost_to_go(ways, state, graph.most_latency - latency) <= graph.most_cost:
                    path[used] = arc
                    used += 1
                    node_at[used], turn[used] = target, graph.first[target]
                    latency_at[used], cost_at[used] = latency, cost
    return found[:made], True
