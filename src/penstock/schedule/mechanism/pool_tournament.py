"""A tournament tree for each pool: it names the worker that is free first, and a change costs log(pool size).

The tree of a pool of n workers has nodes 1 .. 2n - 1; the children of node i are 2i and 2i + 1, and worker k of
the pool is leaf n + k. Every node names the worker below it that is free first, by (free, rank). The pool's
nodes lie in ``soonest`` from twice its ``pool_offsets`` on; node 0 is not used.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import inner, kernel
from penstock.schedule.state.arrays import Facts, Reservations


@kernel
def build(facts: Facts, held: Reservations) -> None:
    """Build the tree of every pool from ``worker_free_us``."""
    for pool in range(len(facts.pool_offsets) - 1):
        first = facts.pool_offsets[pool]
        workers = facts.pool_offsets[pool + 1] - first
        for place in range(workers):
            held.soonest[2 * first + workers + place] = facts.pool_worker[first + place]
        for node in range(workers - 1, 0, -1):
            _play(facts, held, 2 * first, node)


@kernel
def set_free(facts: Facts, held: Reservations, worker: int, free_us: int) -> None:
    """``worker`` is free from ``free_us`` on."""
    if held.worker_free_us[worker] == free_us:
        return
    held.worker_free_us[worker] = free_us
    pool = facts.worker_pool[worker]
    first = facts.pool_offsets[pool]
    node = (facts.pool_offsets[pool + 1] - first + facts.worker_place[worker] - first) // 2
    while node > 0:
        _play(facts, held, 2 * first, node)
        node //= 2


@inner
def _play(facts: Facts, held: Reservations, base: int, node: int) -> None:
    left, right = held.soonest[base + 2 * node], held.soonest[base + 2 * node + 1]
    left_us, right_us = held.worker_free_us[left], held.worker_free_us[right]
    is_left = left_us < right_us
    if left_us == right_us:
        is_left = facts.worker_rank[left] < facts.worker_rank[right]
    held.soonest[base + node] = left if is_left else right
