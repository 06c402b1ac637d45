"""Topological order of a graph. If there is none, the cycle that prevents it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError

Edges = Iterable[Sequence[int]]


def topological_order(name: str, operators: Sequence[str], edges: Edges) -> I64:
    """Operators in an order in which each edge goes forward: int64, shape (n,). Of free ones, the smallest comes
    first.

    Raises :class:`BadInputError` for a cycle. The message names the operators along it.
    """
    order, successors, waiting = _sorted(len(operators), edges)
    if len(order) < len(operators):
        cycle = _find_cycle(successors, waiting)
        path = " -> ".join(repr(operators[index]) for index in [*cycle, cycle[0]])
        raise BadInputError(
            f"{name}: the graph has a cycle: {path}. A model is acyclic: remove one of these edges."
        )
    return np.array(order, np.int64)


def first_cycle(n: int, edges: Edges) -> list[int]:
    """The nodes along some cycle of a graph of ``n`` nodes. Empty if it is acyclic."""
    order, successors, waiting = _sorted(n, edges)
    return _find_cycle(successors, waiting) if len(order) < n else []


def _sorted(n: int, edges: Edges) -> tuple[list[int], list[list[int]], list[int]]:
    """As many nodes in order as possible, the successors, and how many edges each node still waits for."""
    successors: list[list[int]] = [[] for _ in range(n)]
    waiting = [0] * n
    for maker, user in edges:
        successors[maker].append(user)
        waiting[user] += 1
    free = [index for index, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while free:
        current = heapq.heappop(free)
        order.append(current)
        for user in successors[current]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(free, user)
    return order, successors, waiting


def _find_cycle(successors: Sequence[Sequence[int]], waiting: Sequence[int]) -> list[int]:
    """A cycle among the nodes still ``waiting``. Each has a waiting predecessor, so going back leads to a cycle."""
    before: dict[int, int] = {}
    for maker, users in enumerate(successors):
        if waiting[maker]:
            before.update((user, maker) for user in users if waiting[user])
    current = next(iter(before))
    seen: dict[int, int] = {}
    walk: list[int] = []
    while current not in seen:
        seen[current] = len(walk)
        walk.append(current)
        current = before[current]
    return walk[seen[current] :][::-1]
