"""Topological orders of a problem's operators: natural, depth first, and by priority (random or learned)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from penstock.partition.incidence import Incidence

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def natural_order(graph: Incidence) -> I64:
    """The order in which the problem lists its operators; int64, shape (n,)."""
    return np.arange(len(graph.work), dtype=np.int64)


def depth_first_order(graph: Incidence) -> I64:
    """A chain is followed to its end before the next begins: of the free operators, the one freed last."""
    return by_freeing(graph, 1)


def breadth_first_order(graph: Incidence) -> I64:
    """Of the free operators, the one freed first: parallel chains advance together."""
    return by_freeing(graph, -1)


def late_order(graph: Incidence) -> I64:
    """The longest way to an end first: weights and constants wait until their users are near."""
    return priority_order(graph, -_heights(graph).astype(np.float64))


def random_orders(graph: Incidence, rng: np.random.Generator) -> Iterator[I64]:
    """Orders by random priorities, without end."""
    while True:
        yield priority_order(graph, rng.random(len(graph.work)))


def priority_order(graph: Incidence, priority: F64) -> I64:
    """Of the free operators always the one of least ``priority`` (n,), ties by index; O((n + m) log n).

    Every topological order is the answer for some priorities: its own positions.
    """
    order: I64 = _priority_order(graph, np.ascontiguousarray(priority, np.float64))
    return order


def by_freeing(graph: Incidence, sign: int) -> I64:
    """Of the free operators the one freed last (``sign`` 1) or first (-1)."""
    order: I64 = _freeing_order(graph, sign)
    return order


@njit(cache=True)
def waiting_inputs(graph):  # type: ignore[no-untyped-def]
    """How many tensors of other operators each operator needs."""
    n = len(graph.work)
    waiting = np.zeros(n, np.int64)
    for operator in range(n):
        for i in range(graph.used_first[operator], graph.used_first[operator + 1]):
            if graph.maker[graph.used[i]] >= 0:
                waiting[operator] += 1
    return waiting


@njit(cache=True)
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


@njit(cache=True)
def _before(a, b, priority):  # type: ignore[no-untyped-def]
    return priority[a] < priority[b] or (priority[a] == priority[b] and a < b)


@njit(cache=True)
def _push(heap, size, item, priority):  # type: ignore[no-untyped-def]
    at = size
    while at > 0 and _before(item, heap[(at - 1) // 2], priority):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = item
    return size + 1


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def _heights(graph):  # type: ignore[no-untyped-def]
    """The most operators on a way from each operator to an end of the graph."""
    n = len(graph.work)
    height = np.zeros(n, np.int64)
    for operator in range(n - 1, -1, -1):
        for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
            tensor = graph.made[i]
            for j in range(graph.use_first[tensor], graph.use_first[tensor + 1]):
                height[operator] = max(height[operator], height[graph.uses[j]] + 1)
    return height
