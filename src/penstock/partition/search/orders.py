"""Topological orders of a problem's operators: natural, depth first, and by priority (random or learned)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.partition.incidence import Incidence


def natural_order(graph: Incidence) -> I64:
    """The order in which the problem lists its operators: int64, shape (n,)."""
    return np.arange(len(graph.work), dtype=np.int64)


def depth_first_order(graph: Incidence) -> I64:
    """Follow a chain to its end before the next begins: of the free operators, take the one freed last."""
    return by_freeing(graph, 1)


def breadth_first_order(graph: Incidence) -> I64:
    """Of the free operators, take the one freed first, so parallel chains advance together."""
    return by_freeing(graph, -1)


def late_order(graph: Incidence) -> I64:
    """Take the longest way to an end first, so weights and constants wait until their users are near."""
    return priority_order(graph, -_heights(graph).astype(np.float64))


def random_orders(graph: Incidence, rng: np.random.Generator) -> Iterator[I64]:
    """Orders by random priorities, without an end."""
    while True:
        yield priority_order(graph, rng.random(len(graph.work)))


def priority_order(graph: Incidence, priority: F64) -> I64:
    """Always take the free operator of least ``priority`` (n,). Of equals, the lowest index is first; O((n + m) log
    n).

    Every topological order is the answer for some priorities: its own positions.
    """
    order: I64 = _priority_order(graph, np.ascontiguousarray(priority, np.float64))
    return order


def by_freeing(graph: Incidence, sign: int) -> I64:
    """Of the free operators, take the one freed last (``sign`` 1) or first (-1)."""
    order: I64 = _freeing_order(graph, sign)
    return order


@compiled
def waiting_inputs(graph):  # type: ignore[no-untyped-def]
    """How many tensors of other operators each operator needs."""
    n = len(graph.work)
    waiting = np.zeros(n, np.int64)
    for operator in range(n):
        for i in range(graph.used_first[operator], graph.used_first[operator + 1]):
            if graph.maker[graph.used[i]] >= 0:
                waiting[operator] += 1
    return waiting


@compiled
def _priority_order(graph, priority):  # type: ignore[no-untyped-def]
    n = len(graph.work)
    waiting = waiting_inputs(graph)
    heap = np.empty(n, np.int64)
    size = 0
    for operator in range(n):
        if waiting[operator] == 0:
            size = _push(heap, size, operator, priority)
    order = np.empty(n, np.int64)
    for done in range(n):
        operator = heap[0]
        size = _pop(heap, size, priority)
        order[done] = operator
        for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
            tensor = graph.made[i]
            for j in range(graph.use_first[tensor], graph.use_first[tensor + 1]):
                user = graph.uses[j]
                waiting[user] -= 1
                if waiting[user] == 0:
                    size = _push(heap, size, user, priority)
    return order


@compiled
def _before(a, b, priority):  # type: ignore[no-untyped-def]
    return priority[a] < priority[b] or (priority[a] == priority[b] and a < b)


@compiled
def _push(heap, size, item, priority):  # type: ignore[no-untyped-def]
    at = size
    while at > 0 and _before(item, heap[(at - 1) // 2], priority):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = item
    return size + 1


@compiled
def _pop(heap, size, priority):  # type: ignore[no-untyped-def]
    size -= 1
    item = heap[size]
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(heap[child + 1], heap[child], priority):
            child += 1
        if not _before(heap[child], item, priority):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
    return size


@compiled
def _freeing_order(graph, sign):  # type: ignore[no-untyped-def]
    n = len(graph.work)
    waiting = waiting_inputs(graph)
    line = np.empty(n, np.int64)
    head, tail = 0, 0
    for operator in range(n):
        if waiting[operator] == 0:
            line[tail] = operator
            tail += 1
    order = np.empty(n, np.int64)
    for done in range(n):
        if sign > 0:
            tail -= 1
            operator = line[tail]
        else:
            operator = line[head]
            head += 1
        order[done] = operator
        for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
            tensor = graph.made[i]
            for j in range(graph.use_first[tensor], graph.use_first[tensor + 1]):
                user = graph.uses[j]
                waiting[user] -= 1
                if waiting[user] == 0:
                    line[tail] = user
                    tail += 1
    return order


@compiled
def _heights(graph):  # type: ignore[no-untyped-def]
    """The largest number of operators on a path from each operator to an end of the graph."""
    n = len(graph.work)
    height = np.zeros(n, np.int64)
    for operator in range(n - 1, -1, -1):
        for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
            tensor = graph.made[i]
            for j in range(graph.use_first[tensor], graph.use_first[tensor + 1]):
                height[operator] = max(height[operator], height[graph.uses[j]] + 1)
    return height
