"""Local moves: move one operator at a time to another block, by simulated annealing. Then cut the order again.

An operator may go to any block from the latest of its predecessors to the earliest of its successors. This condition
keeps the quotient acyclic. A move changes the cost of only a few blocks: those of the tensors that it touches. The
number of users of each tensor in each block is stored, so a move costs O(degree).

If only the maximum counts, most moves look equal. The sum over blocks of (cost / best) ** POWER also shows
progress in the second-worst block. The larger POWER is, the more it orders partitions as the maximum does.
"""

from __future__ import annotations

import numpy as np

from penstock.kernels import compiled
from penstock.partition.budget import Stop
from penstock.partition.problem import block_costs
from penstock.partition.search.incumbent import Incumbent
from penstock.partition.search.orders import priority_order

_POWER = 12.0
_BATCH = 20_000
"""Moves between two checks of the clock: some milliseconds."""


def improve_by_moves(best: Incumbent, rng: np.random.Generator, stop: Stop, rounds: int = 40) -> int:
    """Improve ``best`` by annealing, starting from it, until ``stop`` or the last round. Returns the moves tried.

    Each round starts from the best partition. Its temperature falls from a share of the best value to 0. It ends with
    a slicing of the order that the blocks imply. Single moves ignore a lack of memory: each result is
    evaluated as a whole.
    """
    tried = 0
    for index in range(rounds):
        if stop():
            break
        block = best.block.copy()
        kept = block.copy()
        costs = block_costs(best.problem, block, best.k)
        total = costs.work + costs.in_ + costs.out
        heat = (0.3, 0.1, 0.03)[index % 3]
        for step in range(10):
            temperature = heat * (1 - step / 10) ** 2
            seed = int(rng.integers(2**31))
            _anneal(best.graph, block, kept, total, best.value, temperature, _BATCH, seed)
            tried += _BATCH
            if best.offer(kept, "local moves"):
                break
            if stop():
                return tried
        best.offer_order(priority_order(best.graph, block.astype(np.float64)), "local moves and slicing")
    return tried


@compiled
def _range(graph, operator, block, k):  # type: ignore[no-untyped-def]
    """The blocks that keep every edge forward: from the latest predecessor to the earliest successor."""
    first, last = 0, k - 1
    for i in range(graph.used_first[operator], graph.used_first[operator + 1]):
        maker = graph.maker[graph.used[i]]
        if maker >= 0:
            first = max(first, block[maker])
    for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
        tensor = graph.made[i]
        for j in range(graph.use_first[tensor], graph.use_first[tensor + 1]):
            last = min(last, block[graph.uses[j]])
    return first, last


@compiled
def _shift(graph, operator, block, target, users, cost):  # type: ignore[no-untyped-def]
    """Move ``operator`` to ``target``, and update ``users`` (tensor, block) and ``cost``."""
    source = block[operator]
    cost[source] -= graph.work[operator]
    cost[target] += graph.work[operator]
    for i in range(graph.used_first[operator], graph.used_first[operator + 1]):
        tensor = graph.used[i]
        time = graph.time[tensor]
        maker = graph.maker[tensor]
        home = block[maker] if maker >= 0 else -1
        outside = graph.n_users[tensor] - (users[tensor, home] if home >= 0 else 0)
        users[tensor, source] -= 1
        users[tensor, target] += 1
        if users[tensor, source] == 0 and source != home:
            cost[source] -= time
        if users[tensor, target] == 1 and target != home:
            cost[target] += time
        if home >= 0:
            outside_now = graph.n_users[tensor] - users[tensor, home]
            if outside > 0 and outside_now == 0:
                cost[home] -= time
            elif outside == 0 and outside_now > 0:
                cost[home] += time
    for i in range(graph.made_first[operator], graph.made_first[operator + 1]):
        tensor = graph.made[i]
        time = graph.time[tensor]
        if graph.n_users[tensor] > users[tensor, source]:
            cost[source] -= time
        if users[tensor, source] > 0:
            cost[source] += time
        if users[tensor, target] > 0:
            cost[target] -= time
        if graph.n_users[tensor] > users[tensor, target]:
            cost[target] += time
    block[operator] = target


@compiled
def _energy(cost, scale):  # type: ignore[no-untyped-def]
    total = 0.0
    for value in cost:
        total += (max(value, 0.0) / scale) ** _POWER
    return total ** (1.0 / _POWER)


@compiled
def _anneal(graph, block, kept, total, best, temperature, moves, seed):  # type: ignore[no-untyped-def]
    """Make ``moves`` random moves. ``block`` gets the last state, ``kept`` the least maximum under ``best``."""
    np.random.seed(seed)
    n, k = len(block), len(total)
    users = np.zeros((len(graph.time), k), np.int32)
    for tensor in range(len(graph.time)):
        for j in range(graph.use_first[tensor], graph.use_first[tensor + 1]):
            users[tensor, block[graph.uses[j]]] += 1
    scale = best if best > 0 else 1.0
    energy = _energy(total, scale)
    least = best * (1 - 1e-9)
    for _ in range(moves):
        operator = np.random.randint(n)
        first, last = _range(graph, operator, block, k)
        if first == last:
            continue
        source = block[operator]
        target = first + np.random.randint(last - first)
        if target >= source:
            target += 1
        _shift(graph, operator, block, target, users, total)
        now = _energy(total, scale)
        if now <= energy or np.random.random() < np.exp((energy - now) / max(temperature * 0.1, 1e-12)):
            energy = now
            if total.max() < least:
                least = total.max()
                kept[:] = block
        else:
            _shift(graph, operator, block, source, users, total)
