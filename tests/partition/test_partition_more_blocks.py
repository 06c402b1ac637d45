"""Blocks that end at the right places, found by way of more blocks."""

from __future__ import annotations

from functools import partial

import numpy as np

from penstock.partition.incidence import incidence
from penstock.partition.partition import partition
from penstock.partition.problem import TensorUse, make_problem
from penstock.partition.search.incumbent import Incumbent
from penstock.partition.search.local_moves import improve_by_moves
from penstock.partition.search.more_blocks import MoreBlocks, order_of
from penstock.partition.search.orders import natural_order


def never() -> bool:
    return False


def cells(count: int):
    """``count`` cells in a chain. Each has a source, two branches of two operators, and a sink; each operator works for
    1. Tensors inside of a cell take 50, those between cells 1."""
    names, tensors = [], []
    for cell in range(count):
        first = 6 * cell
        names += [f"c{cell}{part}" for part in ("in", "a0", "a1", "b0", "b1", "out")]
        source, a0, a1, b0, b1, sink = range(first, first + 6)
        tensors += [
            TensorUse(source, (a0, b0), 50.0),
            TensorUse(a0, (a1,), 50.0),
            TensorUse(a1, (sink,), 50.0),
            TensorUse(b0, (b1,), 50.0),
            TensorUse(b1, (sink,), 50.0),
        ]
        if cell + 1 < count:
            tensors.append(TensorUse(sink, (first + 6,), 1.0))
    return make_problem("cells", names, [1.0] * len(names), tensors)


def test_the_order_of_blocks_keeps_each_block_together():
    problem = cells(3)
    best = Incumbent(problem, incidence(problem), 3)
    best.offer(np.repeat(np.arange(3), 6), "by hand")
    order = order_of(best)
    assert best.block[order].tolist() == sorted(best.block.tolist())


def test_few_blocks_end_where_more_blocks_do():
    """Eight cells into four blocks: two cells each, 12 of work and a tensor at each side. Nothing else is searched."""
    problem = cells(8)
    rng = np.random.default_rng(0)
    best = Incumbent(problem, incidence(problem), 4)
    more = MoreBlocks(best, [natural_order(best.graph)])
    assert more.wide.k == 8
    turn = partial(improve_by_moves, rng=rng, stop=never, rounds=3)
    more.help(best, turn, lambda fewer: None)
    assert best.value == 14.0
    assert best.found_by == "more blocks"
    assert best.block.tolist() == np.repeat(np.arange(4), 12).tolist()


def test_there_are_never_more_blocks_than_operators():
    problem = cells(1)
    best = Incumbent(problem, incidence(problem), 5)
    assert MoreBlocks(best, [natural_order(best.graph)]).wide.k == 6


def test_the_whole_search_splits_cells_at_their_ends():
    found = partition(cells(12), 4, time_limit_s=20.0)
    assert found.objective == found.bound == 20.0
